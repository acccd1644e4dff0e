"""Imports run one way, and only listed modules import native code, an event loop or threads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "steelyard"

LAYERS = (
    {"_lazy"},
    {"_digest_errors", "_units"},
    {"digest"},
    {"errors"},
    {"model"},
    {"_http_fields", "_runtime", "leases", "names", "options"},
    {"collection", "events"},
    {"_archive", "content", "hashing", "filters"},
    {"_collecting"},
    {"transfer"},
    {"base"},
    {"local", "memory"},
    {"objects"},
    {"images"},
    {"trees"},
    {"containerd", "fetch", "web"},
    {"_places"},
    {"fs"},
    {"__init__"},
    {"testing"},
    {"cli"},
    {"__main__"},
)
"""A module imports from layers above its own in this list only, and from its own package. A new module needs a place."""

NATIVE = (
    "_archive/",
    "_runtime/calls/",
    "_runtime/fork.py",
    "_runtime/jobs.py",
    "containerd/remote/",
    "containerd/service/_metrics.py",
    "containerd/service/_notes.py",
    "containerd/service/_server.py",
    "events.py",
    "filters/",
    "hashing.py",
    "local/",
    "objects/_reader.py",
    "objects/_requests.py",
    "objects/_store.py",
    "trees/_walk.py",
)
LOOPS = ("_runtime/backend.py", "_runtime/calls/_asyncio.py", "_runtime/calls/_trio.py")
THREADS = ("_runtime/calls/", "_runtime/refqueue.py", "_runtime/threads.py", "containerd/service/")
"""The last because its page of metrics has a thread, and because threads of the native server call other stores."""

BORDERS = {
    "native code": (("steelyard._native",), NATIVE),
    "event loops": (("asyncio", "outcome", "sniffio", "trio", "uvloop"), LOOPS),
    "threads": (("anyio.from_thread", "anyio.to_thread", "concurrent", "threading"), THREADS),
    "clients of HTTP": (("httpcore2", "httpx2"), ("fetch/_hosts.py",)),
    "web frameworks": (("fastapi", "starlette"), ("web/starlette.py",)),
    "file systems": (("fsspec", "upath"), ("fs/",)),
    "metrics": (("prometheus_client",), ("containerd/service/_metrics.py",)),
    "progress on a terminal": (("rich",), ("cli/progress.py",)),
    "the runner of tests": (("pytest",), ("testing/",)),
}
"""Modules that only a few others may import, and those others."""


def _room(path: Path) -> str:
    """Name the file or folder directly below the package that a module is in."""
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


BLOCKING = sorted((PACKAGE / "local" / "blocking").glob("*.py"))


@pytest.mark.parametrize("path", BLOCKING, ids=lambda path: path.name)
def test_the_blocking_core_knows_no_event_loop(path: Path) -> None:
    loops = {name for name in _imports(path) if name.startswith(("anyio", "steelyard._runtime", "steelyard.transfer"))}

    allowed = tuple(f"steelyard._runtime.{name}" for name in ("buffers", "files", "fork"))
    assert set() == {name for name in loops if not name.startswith(allowed)}


@pytest.mark.parametrize("border", BORDERS)
def test_only_the_modules_at_a_border_import_what_is_behind_it(border: str) -> None:
    behind, allowed = BORDERS[border]
    found = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(f"{name}.".startswith(f"{module}.") for name in _imports(path) for module in behind)
    }

    assert set() == {path for path in found if not path.startswith(allowed)}
    assert set() == {entry for entry in allowed if not any(path.startswith(entry) for path in found)}, "not needed"


def test_one_module_calls_into_an_event_loop_from_another_thread() -> None:
    way_in = re.compile(r"call_soon_threadsafe|run_coroutine_threadsafe|run_sync_soon|from_thread")

    assert ["_runtime/backend.py"] == [
        str(path.relative_to(PACKAGE)) for path in MODULES if way_in.search(path.read_text())
    ]


@pytest.mark.parametrize(
    ("claim", "allowed"), [("import `steelyard._native`", NATIVE), ("import `asyncio` or `trio`", LOOPS)]
)
def test_the_page_on_the_architecture_names_the_modules_at_a_border(claim: str, allowed: tuple[str, ...]) -> None:
    text = " ".join((ROOT / "docs" / "architecture.md").read_text().split())
    sentence = text[: text.index(claim)].rpartition("Only ")[2]

    assert sorted(allowed) == sorted(re.findall("`([^`]+)`", sentence))


PACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def _module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_of_a_package_import_each_other_without_a_circle(package: str) -> None:
    """Imports for type checkers and imports in functions count, too."""
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
