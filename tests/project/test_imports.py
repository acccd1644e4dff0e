"""Imports run one way, and the two borders, native code and threads, are crossed in the modules meant for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "steelyard"

LAYERS = (
    {"errors"},
    {"digest"},
    {"model"},
    {"_runtime", "names", "options"},
    {"_archive", "content", "hashing", "filters"},
    {"transfer"},
    {"base"},
    {"local", "memory"},
    {"images"},
    {"containerd"},
    {"__init__"},
    {"testing"},
    {"cli"},
    {"__main__"},
)
"""A module imports from layers above its own in this list only, and from its own package. A new module needs a place."""

NATIVE = {"_archive", "_runtime", "containerd", "hashing", "filters", "local"}
THREADS = {"_runtime", "containerd"}
"""The last because grpcio serves each call on a thread of its own."""
THREAD_MODULES = {"anyio.to_thread", "anyio.from_thread", "asyncio", "concurrent", "threading", "trio"}


def _room(path: Path) -> str:
    """Name a module by its part of the house: the file or folder directly below the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "anyio":
            yield f"anyio.{node.attr}"


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_pb2" not in path.name)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    level = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
    room = _room(path)
    assert room in level, f"{room} has no place in LAYERS"

    for name in _imports(path):
        parts = name.split(".")
        if parts[0] != "steelyard" or parts[1] in {"_native", room}:
            continue
        # `from steelyard import X` is for users of the package, above it.
        imported = parts[1] if parts[1] in level else "__init__"
        assert level[imported] < level[room], f"{room} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_borders_know_native_code_and_threads(path: Path) -> None:
    room = _room(path)
    names = set(_imports(path))

    native = {name for name in names if name.startswith("steelyard._native")}
    assert not native or room in NATIVE, f"{room} imports {native}"
    threads = {name for name in names if any(f"{name}.".startswith(f"{module}.") for module in THREAD_MODULES)}
    assert not threads or room in THREADS, f"{room} imports {threads}"


ACYCLIC = ("_archive", "images")
"""Packages whose modules import each other without a circle."""


def _module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("package", ACYCLIC)
def test_modules_of_a_package_import_each_other_without_a_circle(package: str) -> None:
    paths = {_module_of(path): path for path in MODULES if _room(path) == package}
    imported = {
        module: {name if name in paths else name.rpartition(".")[0] for name in _imports(path)} & paths.keys()
        for module, path in paths.items()
    }

    while leaves := {module for module, names in imported.items() if not names & imported.keys()}:
        imported = {module: names for module, names in imported.items() if module not in leaves}
    assert {} == imported, "these modules import each other in a circle"


@pytest.mark.parametrize(("package", "other"), [("importing", "exporting"), ("exporting", "importing")])
def test_import_and_export_of_images_do_not_know_each_other(package: str, other: str) -> None:
    for path in (PACKAGE / "images" / package).rglob("*.py"):
        wrong = {name for name in _imports(path) if name.startswith(f"steelyard.images.{other}")}

        assert set() == wrong, path
