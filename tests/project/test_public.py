"""The public surface: what is exported, documented, pickled, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import steelyard
from steelyard import collection, events, model

ROOT = Path(__file__).parents[2]
SECTIONS = ("Attributes", "Args", "Returns", "Yields", "Raises", "Cancellation", "Cost", "Spec")
DIGEST = steelyard.Digest.parse("sha256:" + "ab" * 32)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)

VALUES: tuple[Any, ...] = (
    DIGEST,
    steelyard.Algorithm.BLAKE3,
    steelyard.Labels({"a": "b"}),
    steelyard.Info(digest=DIGEST, size=1, created_at=NOON, updated_at=NOON, labels=steelyard.Labels({"a": "b"})),
    steelyard.Status(ref="a", offset=1, total=None, expected=DIGEST, started_at=NOON, updated_at=NOON),
    steelyard.Descriptor(digest=DIGEST, media_type="text/plain"),
    steelyard.Image(name="a", target=steelyard.Descriptor(digest=DIGEST), created_at=NOON, updated_at=NOON),
    model.Lease(id="a", created_at=NOON, expires_at=NOON, process=1),
    model.LeaseResources(blobs=(DIGEST,), refs=("a",)),
    collection.Root(kind="lease", name="a", until=NOON),
    collection.Reason(digest=DIGEST, root=collection.Root(kind="label", name="a"), chain=(DIGEST,)),
    collection.Garbage(digest=DIGEST, size=1, since=NOON, goes=True),
    collection.Collected(blobs=1, kept=collection.Kept(leases=1), warnings=("a",)),
    events.Event(type="created", at=NOON, digest=DIGEST, size=1),
    steelyard.PutResult(digest=DIGEST, size=1, new=True),
    steelyard.Progress(phase="write", name="a", done=1, total=None),
)


def _public_modules() -> list[ModuleType]:
    """The package and what lies directly below it; a folder's own modules are how it is made, not what it offers."""
    names = [module.name for module in pkgutil.iter_modules(steelyard.__path__) if not module.name.startswith("_")]
    return [steelyard, *(importlib.import_module(f"steelyard.{name}") for name in names if name != "cli")]


MODULES = _public_modules()


def _documented() -> list[tuple[str, Any]]:
    """Every public class and function, and every public member that its own class defines."""
    found = {}
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            found[f"{thing.__module__}.{name}"] = thing
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                unwrapped = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                if not member.startswith("_") and (inspect.isfunction(unwrapped) or isinstance(unwrapped, property)):
                    found[f"{thing.__module__}.{name}.{member}"] = getattr(thing, member)
    return sorted(found.items())


def test_the_package_exports_what_most_programs_name() -> None:
    """A name that is added here is a promise to every user, so this list changes only by a decision."""
    exported = {
        "stores": "LocalStore MemoryStore Store ReaderAt Writer",
        "values": "Algorithm Descriptor Digest FileRange Image Info Labels Progress PutManyResult PutResult Status",
        "functions": "copy digest_of exists open_writer read_blob write_blob",
        "errors": "AlreadyExists DataCorrupt FailedPrecondition InvalidArgument NotFound SteelyardError StorageError"
        " StorageFull Unavailable UnexpectedDigest UnexpectedSize",
        "version": "__version__",
    }

    assert {name for names in exported.values() for name in names.split()} == set(steelyard.__all__)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_is_sorted_complete_and_true(module: ModuleType) -> None:
    assert isinstance(module.__all__, tuple)
    assert len(set(module.__all__)) == len(module.__all__)
    own = {
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and (module is steelyard or thing.__module__ == module.__name__)
    }
    assert own <= set(module.__all__), f"not in __all__: {own - set(module.__all__)}"
    assert all(hasattr(module, name) for name in module.__all__)


LAZY = sorted(
    path for path in (ROOT / "python" / "steelyard").rglob("*.py") if "__dir__ = _exports(" in path.read_text()
)


@pytest.mark.parametrize("path", LAZY, ids=lambda path: str(path.relative_to(ROOT / "python")))
def test_type_checkers_see_what_a_lazy_module_exports(path: Path) -> None:
    """The imports under TYPE_CHECKING are for them; the table is for the interpreter."""
    body = ast.parse(path.read_text()).body
    (branch,) = [node for node in body if isinstance(node, ast.If) and node.orelse]
    (table,) = [
        node.args[1]
        for last in branch.orelse
        for node in ast.walk(last)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_exports"
    ]
    (names,) = [
        ast.literal_eval(node.value)
        for node in body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]

    shown = [
        (node.module, name.name)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
        if name.name in names
    ]
    lazy = [(module, name) for module, some in ast.literal_eval(table).items() for name in some.split()]
    assert sorted(shown) == sorted(lazy)
    assert len({name for _, name in lazy}) == len(lazy)


def test_public_modules_are_attributes_of_the_package() -> None:
    program = (
        "import steelyard; print(steelyard.errors.NotFound, steelyard.local.LocalStore, 'errors' in dir(steelyard))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(" True\n")

    with pytest.raises(AttributeError, match="module 'steelyard' has no attribute 'nothing'"):
        _ = steelyard.nothing  # type: ignore[attr-defined]


def test_every_public_name_of_the_modules_below_is_exported_once() -> None:
    """A name that the package exports is the same object wherever it is exported."""
    for module in MODULES:
        for name in module.__all__:
            if hasattr(steelyard, name) and not isinstance(getattr(steelyard, name), ModuleType):
                assert getattr(steelyard, name) is getattr(module, name), f"{module.__name__}.{name}"


@pytest.mark.parametrize(("name", "thing"), _documented(), ids=lambda value: value if isinstance(value, str) else "")
def test_everything_public_has_a_docstring_in_one_style(name: str, thing: Any) -> None:
    text = inspect.getdoc(thing)
    assert text, f"{name} has no docstring"
    summary = text.split("\n\n")[0]
    assert summary.rstrip("`").endswith((".", ":", "?")), f"{name}: the first paragraph is no sentence: {summary!r}"
    sections = [found for found in re.findall(r"^([A-Z]\w+):", text, re.MULTILINE) if found in SECTIONS]
    ordered = sorted(sections, key=SECTIONS.index)
    assert ordered == sections, f"{name}: sections are out of order"


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_survive_pickling_and_hash_alike(value: Any) -> None:
    restored = pickle.loads(pickle.dumps(value))

    assert value == restored
    assert hash(value) == hash(restored)


def test_the_version_has_one_source() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())
    native = importlib.import_module("steelyard._native")

    assert workspace["workspace"]["package"]["version"] == native.__version__ == steelyard.__version__
    assert ["version"] == python["project"]["dynamic"]
    for member in workspace["workspace"]["members"]:
        crate = tomllib.loads((ROOT / member / "Cargo.toml").read_text())
        assert {"workspace": True} == crate["package"]["version"]


def test_the_library_needs_anyio_and_msgspec_only() -> None:
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert ["anyio", "msgspec"] == [re.split(r"[^\w-]", line)[0] for line in python["project"]["dependencies"]]


def test_every_rust_dependency_says_why() -> None:
    manifests = [*ROOT.glob("rust/*/Cargo.toml"), *ROOT.glob("benches/*/Cargo.toml")]
    assert len(manifests) > 5
    for manifest in manifests:
        lines = manifest.read_text().splitlines()
        section = ""
        for previous, line in zip(["", *lines], lines, strict=False):
            section = line if line.startswith("[") else section
            if "dependencies" in section and re.match(r"[\w-]+ = ", line) and "path =" not in line:
                assert previous.startswith("# "), f"{manifest}: {line}"


def test_every_dependency_of_the_library_and_its_extras_says_why() -> None:
    """Those of the tests are in the extra `dev`."""
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(package for extra in extras if extra != "dev" for package in extras[extra])]

    assert len(wanted) > 5
    assert [] == [line for line in wanted if not re.search(rf'^  "{re.escape(line)}",\s+# \w', text, re.MULTILINE)]


def test_the_package_is_typed() -> None:
    assert (Path(steelyard.__file__).parent / "py.typed").is_file()


def test_importing_the_library_loads_no_extra_and_no_backend() -> None:
    program = (
        "import sys, time; started = time.perf_counter(); import steelyard;"
        "print(f'{(time.perf_counter() - started) * 1e3:.0f} ms');"
        "print(sorted({'asyncio', 'trio', 'ssl', 'rich', 'cyclopts', 'platformdirs', 'pytest'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    time, loaded = output.splitlines()
    print(f"import steelyard: {time}")

    assert "[]" == loaded


def test_sqlite_has_the_fix_of_the_wal_reset_fault() -> None:
    """Fixed in 3.51.3 and, of the older lines, in 3.50.7 and 3.44.6."""
    native = importlib.import_module("steelyard._native")
    version = tuple(int(part) for part in native.sqlite_version.split("."))

    assert version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
