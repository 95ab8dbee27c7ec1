"""Files that are whole or not there: written beside their place and renamed."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def absent(folder: Path) -> list[Path]:
    """Returns which of a folder and those around it are not there, the innermost first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def remove(made: list[Path]) -> None:
    """Removes folders, the innermost first; another run may have come to share the outer ones."""
    for place in made:
        with contextlib.suppress(OSError):
            place.rmdir()


def check_room(path: str | os.PathLike[str]) -> None:
    """Raises an OSError where nothing can be written at a path; leaves nothing there.

    What takes long calls it first, so that no result is lost for want of a place.
    """
    target = Path(path)
    made = absent(target.parent)
    try:
        for place in reversed(made):
            place.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise OSError(
            f"{target} cannot be written ({error.strerror}); expected a place where files can be "
            "made. Choose another."
        ) from error
    finally:
        remove(made)


def write(path: str | os.PathLike[str], writer: Callable[[Any], Any]) -> None:
    """Writes a file beside its place and renames it, so that a failure leaves what was there.

    Args:
        path: The file.
        writer: Called with the open binary file.
    """
    with beside(Path(path)) as part, part.open("wb") as file:
        writer(file)


@contextlib.contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Gives a path to write to, of the same suffix, and renames it to the target at the end."""
    part = target.with_name(f".part-{target.name}")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        raise OSError(f"{target} could not be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
