"""The version, alone so that it can be read without importing the package."""

__version__ = "0.1.0"
#: The format of saved models. It is raised when a file could no longer be read by what came before.
FORMAT = 2
