"""The house: layers import downward only, dear packages load on use, and rooms stay small."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import keras_vae

pytestmark = pytest.mark.quick

PACKAGE = Path(keras_vae.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: A module imports from lower layers only. Within a family's folder, files import `base`.
LAYERS = {
    "_backend": 0,
    "_version": 0,
    "_types": 0,
    "_checks": 0,
    "_files": 1,
    "_archive": 1,
    "_cluster": 1,
    "_noise": 1,
    "_checkpoints": 4,
    "_sides": 1,
    "_registry": 1,
    "_parts": 2,
    "_arrays": 2,
    "distributions": 3,
    "estimators": 3,
    "schedules": 3,
    "conditions": 3,
    "distribute": 3,
    "plots": 3,
    "data": 3,
    "layers": 4,
    "executing": 4,
    "_hooks": 4,
    "optimizing": 4,
    "flows": 5,
    "networks": 5,
    "likelihoods": 6,
    "posteriors": 6,
    "priors": 6,
    "latents": 7,
    "objectives": 7,
    "graph": 8,
    "receiving": 9,
    "imputation": 9,
    "guarding": 9,
    "resuming": 10,
    "inference": 10,
    "scoring": 11,
    "training": 11,
    "model": 12,
    "evaluation": 13,
    "export": 13,
    "filling": 13,
    "loading": 13,
    "callbacks": 14,
    "recipes": 14,
    "configs": 14,
    "runs": 15,
    "launching": 15,
    "sklearn": 15,
    "_options": 15,
    "anomalies": 16,
    "cli": 17,
    "__main__": 18,
    "__init__": 18,
}
ON_USE = {"tensorflow_probability", "tensorflow_datasets", "matplotlib", "sklearn", "pandas"}
#: What users import by name, and the dear package that it is for.
BY_NAME = {"sklearn": {"sklearn"}}


def module_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path):
    """Yields (dotted name, whether at module level and outside TYPE_CHECKING)."""
    tree = ast.parse(path.read_text())
    guarded = [
        n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n)
    ]
    inner = {
        id(child)
        for n in ast.walk(tree)
        if isinstance(n, ast.FunctionDef) or n in guarded
        for child in ast.walk(n)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            deeper = node.module == "keras_vae"
            names = [f"{node.module}.{a.name}" if deeper else node.module for a in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in inner


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                docstring = ast.get_docstring(node)
                lines = node.end_lineno - node.lineno + 1
                lines -= len(docstring.splitlines()) if docstring else 0
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", lines


def test_every_module_has_a_layer():
    assert {module_of(path) for path in FILES} == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    own = module_of(path)
    for name, _ in imports_of(path):
        parts = name.split(".")
        if parts[0] != "keras_vae" or len(parts) < 2 or parts[1] == own:
            continue
        assert LAYERS[parts[1]] < LAYERS[own], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_within_a_folder_files_import_the_base_only(path):
    relative = path.relative_to(PACKAGE)
    family = relative.parts[0]
    if len(relative.parts) == 1 or path.name == "__init__.py":
        return
    inside = {name for name, _ in imports_of(path) if name.startswith(f"keras_vae.{family}.")}
    assert inside <= {f"keras_vae.{family}.base"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dear_packages_load_when_used(path):
    early = {name.split(".")[0] for name, at_import in imports_of(path) if at_import}
    assert not early & (ON_USE - BY_NAME.get(module_of(path), set()))


def test_only_distributions_imports_tensorflow_probability():
    users = {p.name for p in FILES for n, _ in imports_of(p) if n.startswith("tensorflow_prob")}
    assert users == {"distributions.py"}


def test_importing_the_package_loads_nothing_dear_that_keras_does_not():
    dear = sorted(ON_USE | {"tf_keras", "typer"})
    code = (
        f"import sys, tensorflow, keras; dear = {dear}; "
        "before = set(sys.modules); import keras_vae; "
        f"dear += ['keras_vae.' + name for name in {list(BY_NAME)}]; "
        "print([m for m in dear if m in sys.modules and m not in before])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_another_backend_is_refused_in_one_sentence(backend, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    run = subprocess.run(
        [sys.executable, "-c", "import keras_vae"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: keras_vae runs on Keras's TensorFlow backend")
    assert repr(backend) in last


def test_sizes_stay_readable():
    files = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}
    assert max(files.values()) <= 500, max(files, key=files.get)
    rooms = [lines for name, lines in files.items() if not name.endswith("__init__.py")]
    assert statistics.median(rooms) <= 160
    sizes = dict(functions())
    assert max(sizes.values()) <= 60, max(sizes, key=sizes.get)
    ordered = sorted(sizes.values())
    assert statistics.median(ordered) <= 8
    assert ordered[int(0.9 * len(ordered))] <= 25


def test_users_never_meet_an_assert():
    for path in FILES:
        nodes = ast.walk(ast.parse(path.read_text()))
        assert not any(isinstance(node, ast.Assert) for node in nodes), path.name


def public_definitions(body):
    """Yields public classes and functions of a module, and public methods of public classes."""
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        yield node
        if isinstance(node, ast.ClassDef):
            yield from public_definitions(node.body)


def test_every_public_name_has_a_docstring():
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path.name
        for node in public_definitions(tree.body):
            assert ast.get_docstring(node), f"{path.name}:{node.name}"


def test_the_public_names_are_sorted_and_there():
    assert keras_vae.__all__ == sorted(keras_vae.__all__)
    assert all(hasattr(keras_vae, name) for name in keras_vae.__all__)
