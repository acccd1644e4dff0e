"""Claims of the documentation that the code can confirm: lists, numbers, defaults and names."""

from __future__ import annotations

import ast
import inspect
import re
import sqlite3
import stat
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import anyio
import pytest

from steelyard import Algorithm, DataCorrupt, Descriptor, LocalStore, base, content, errors, filters
from steelyard._native import Compressor
from steelyard.base import BaseStore
from steelyard.cli.settings import Settings
from steelyard.containerd import RemoteStore
from steelyard.containerd.service import Server
from steelyard.containerd.service._codes import CLASSES
from steelyard.containerd.service._metrics import Collector
from steelyard.errors import InvalidFilter
from steelyard.events import EVENT_FIELDS
from steelyard.images import Limits
from steelyard.names import ImageNames

ROOT = Path(__file__).parents[2]
SETTINGS = {f"STEELYARD_{field.upper()}" for field in Settings.__struct_fields__}
"""Environment variables whose names the code builds."""
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CONTAINERD = (ROOT / "docs" / "containerd.md").read_text(encoding="utf-8")
IMAGES = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")
FORMAT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")


def test_the_readme_names_the_packages_that_the_library_needs() -> None:
    (named,) = re.findall(r"The library needs two packages, (\w+) and (\w+)\.", README)

    assert set(named) == {re.split(r"\W", package)[0] for package in PROJECT["dependencies"]}


def test_the_readme_names_functions_of_the_files_where_it_finds_them() -> None:
    table = README.partition("| To find | Look in |")[2].partition("\n\n")[0]
    wrong = []
    for row in table.splitlines():
        named = re.findall(r"`([^`]+)`", row)
        files = [ROOT / name for name in named if "/" in name and (ROOT / name).is_file()]
        code = "\n".join(file.read_text(encoding="utf-8") for file in files)
        names = [name for name in named if re.fullmatch(r"\w+", name)]
        wrong += [
            name for name in names if not re.search(rf"\b(?:fn|def|class) {name}\b|^{name}\b.* = ", code, re.MULTILINE)
        ]

    assert [] == wrong
    assert "give_name" in table


def test_the_readme_names_the_oldest_python() -> None:
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')} or newer" in README


def test_the_guide_lists_every_example() -> None:
    listed = re.findall(r"^\| `examples/(\w+\.py)`", GUIDE, re.MULTILINE)

    assert sorted(listed) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def test_the_guide_names_the_five_interfaces_of_a_store() -> None:
    (text,) = re.findall(r"implement five interfaces: (.*?)\. `BaseStore`", GUIDE, re.DOTALL)
    named = [name for name in re.findall(r"`([A-Z]\w+)`", text) if name != "Store"]
    kinds: list[Any] = [ImageNames if name == "ImageNames" else getattr(content, name) for name in named]

    assert len(kinds) == 5
    left = {method for kind in kinds if kind is not ImageNames for method in kind.__abstractmethods__}
    assert left | {"images"} == BaseStore.__abstractmethods__


def test_the_page_on_the_base_of_stores_lists_its_methods_and_the_names_to_use() -> None:
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", base.__doc__ or "", re.MULTILINE)
    (implemented,) = [text for name, text in rows if name == "`BaseStore`"]
    methods = {name for name, value in vars(BaseStore).items() if callable(value) and not name.startswith("_")}

    refused, of_every_store = {"events", "with_lease"}, {"delete_many", "put", "put_many", "update_many"}
    assert set(re.findall(r"`(\w+)`", implemented)) == methods - refused | of_every_store
    for names, _ in rows:
        first, *others = re.findall(r"`([\w.]+)`", names)
        module = first.rpartition(".")[0] or "steelyard.base"
        for name in (first if "." in first else f"{module}.{first}", *(f"{module}.{other}" for other in others)):
            resolve_name(name)


def test_the_guide_gives_the_limits_of_filters() -> None:
    assert f"at most {filters.MAX_FILTERS:,} filters and 32 KiB of text" in GUIDE

    filters.compile(*[""] * filters.MAX_FILTERS)
    with pytest.raises(InvalidFilter, match=str(filters.MAX_FILTERS)):
        filters.compile(*[""] * (filters.MAX_FILTERS + 1))
    text = "labels.a==b,"
    whole = text * (32768 // len(text)) + "size"
    filters.compile(whole + "x" * (32768 - len(whole)))
    with pytest.raises(InvalidFilter, match="32768"):
        filters.compile(whole + "x" * (32769 - len(whole)))
    with pytest.raises(InvalidFilter, match="4096 KiB"):
        filters.compile(r"labels.a~=\w{100}")


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """Give the root of a store with a blob, an ingest, a damaged blob in quarantine and an image name."""
    root = tmp_path / "store"
    anyio.run(_use, root)
    return root


async def _use(root: Path) -> None:
    async with LocalStore(root) as store:
        kept, damaged = await store.put(b"kept", labels={"a": "b"}), await store.put(b"damaged")
        await store.images.create("name", Descriptor(digest=kept.digest))
        path = anyio.Path(root / "blobs" / damaged.digest.algorithm / damaged.digest.encoded)
        await path.chmod(0o600)
        await path.write_bytes(b"Damaged")
        with pytest.raises(DataCorrupt):
            await store.verify(damaged.digest)
        async with store.writer("ref") as writer:
            await writer.write(b"bytes")


def test_the_page_on_the_format_shows_every_file_of_a_store(used: Path) -> None:
    drawing = re.search(r"^```\n(ROOT/.*?)^```$", FORMAT, re.MULTILINE | re.DOTALL)
    assert drawing is not None
    names: list[str] = []
    above: dict[int, str] = {0: ""}
    for line in drawing.group(1).splitlines()[1:]:
        found = re.match(r"([│ ]*)[├└]── (<[^>]*>\S*|[^ <]+(?:<[^>]*>[^ <]*)*)", line)
        assert found is not None, line
        name = above[len(found.group(1))] + found.group(2)
        above[len(found.group(1)) + 4] = name
        names.append(name)
    names += [f"meta.db-{end}" for end in re.findall(r"meta\.db-(\w+)", drawing.group(1))]
    shown = [re.sub(r"<[^>]*>", "[^/]+", re.sub(r"[.]", r"\\.", name)) for name in names]

    files = {str(path.relative_to(used)) for path in used.rglob("*") if path.is_file()}
    assert [] == [file for file in files if not any(re.fullmatch(pattern, file) for pattern in shown)]
    often = {"tail", "meta.db-wal", "meta.db-shm", "tmp/"}
    missing = [
        name
        for name, pattern in zip(names, shown, strict=True)
        if not any(re.match(pattern, file) for file in files)
        and not name.endswith(tuple(often))
        and not name.startswith(("condemned/", "reserve"))
    ]
    assert [] == missing
    for path in used.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.parent.parent.name == "blobs":
            assert mode == 0o444
        elif path.parent.parent.name == "ingest":
            assert mode == 0o600
    assert stat.S_IMODE(used.stat().st_mode) == 0o700
    assert (used / "steelyard.json").read_text().strip() == '{"format": 1}'


def test_the_page_on_the_format_names_the_algorithms() -> None:
    (text,) = re.findall(r"`<algorithm>` is one of (.*?), and", FORMAT, re.DOTALL)

    assert re.findall(r"`(\w+)`", text) == [algorithm.value for algorithm in Algorithm]


def test_the_page_on_the_format_describes_the_database(used: Path) -> None:
    tables = re.findall(r"^\| `(\w+)` \| .* \| \d \|$", FORMAT, re.MULTILINE)
    (version,) = re.findall(r"its `user_version` is (\d+)", FORMAT)
    with sqlite3.connect(used / "meta.db") as database:
        found = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()

        assert sorted(tables) == sorted(name for (name,) in found if not name.startswith("sqlite_"))
        assert database.execute("PRAGMA user_version").fetchone() == (int(version),)
        assert database.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"Stly"),)
    database.close()


def test_the_page_on_images_gives_the_limits_of_documents() -> None:
    limits = Limits()

    assert limits.json_bytes == 4 << 20
    assert f"more than 4 MiB, values nested deeper than {limits.depth}, an image of more than a million" in IMAGES
    assert limits.nodes == 1_000_000


def test_the_page_on_images_gives_the_levels_of_compression() -> None:
    ((gzip, zstd),) = re.findall(r"default level is (\d+) for gzip and (\d+) for zstd", IMAGES)
    data = (ROOT / "docs" / "images.md").read_bytes()

    assert _compressed("gzip", None, data) == _compressed("gzip", int(gzip), data)
    assert _compressed("zstd", None, data) == _compressed("zstd", int(zstd), data)
    assert _compressed("gzip", None, data) != _compressed("gzip", int(gzip) + 1, data)


def _compressed(kind: str, level: int | None, data: bytes) -> bytes:
    coder, output = Compressor(kind, level=level), bytearray(1 << 20)
    taken, size = coder.run(data, 0, output)
    assert taken == len(data)
    with memoryview(output)[size:] as rest:
        size += coder.finish(rest)
    return bytes(output[:size])


def _rows(page: str, heading: str) -> dict[str, str]:
    """Return the first two columns of the first table under a heading."""
    table = page.partition(f"\n{heading}\n")[2].partition("\n| --- ")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]
    return {row[0]: row[1] for row in rows}


def _default(of: Callable[..., Any], name: str) -> Any:
    return inspect.signature(of).parameters[name].default


def test_the_page_on_containerd_gives_the_limits_of_the_service() -> None:
    limits = _rows(CONTAINERD, "### Limits")
    calls = str(_default(Server, "calls"))

    assert limits["a message, in either direction"] == f"{_default(Server, 'message_bytes') >> 20} MiB"
    assert limits["concurrent Write calls"] == calls
    assert limits["all other concurrent calls"] == calls
    idle = f"{_default(Server, 'idle_seconds')} s"
    assert limits["waiting for a client's next message"] == limits["waiting for a client to take a message"] == idle
    assert limits["one step of a store other than `LocalStore`"] == f"{_default(Server, 'wait_seconds')} s"


def test_the_page_on_containerd_gives_the_arguments_of_a_remote_store() -> None:
    rows = _rows(CONTAINERD, "## The store of a containerd")
    units = {"s": 1, "MiB": 1 << 20}
    shown: dict[str, Any] = {}
    for name, text in rows.items():
        number = re.fullmatch(r"(\d+) (\w+)", text)
        shown[name.strip("`")] = int(number[1]) * units[number[2]] if number else text.strip("`")

    assert shown.pop("address") == ""
    assert shown.pop("lease") == "none"
    assert _default(RemoteStore, "lease") is None
    taken = inspect.signature(RemoteStore).parameters
    assert shown == {name: taken[name].default for name in taken if name not in {"address", "lease"}}


def test_the_page_on_containerd_gives_the_code_of_each_error() -> None:
    rows = _rows(CONTAINERD, "### Rules of the calls")

    for kind, code in CLASSES.items():
        assert not hasattr(errors, kind.__name__) or f"`{kind.__name__}`" in rows[code.name]
    assert set(rows) == {code.name for code in CLASSES.values()} | {"PERMISSION_DENIED"}


def test_the_page_on_containerd_lists_the_metrics() -> None:
    rows = _rows(CONTAINERD, "### Metrics")
    kinds = {"counter": "_total", "gauge": "", "histogram": ""}

    class Silent:
        def metrics(self) -> tuple[list[Any], int]:
            return [], 0

    made = {f"{metric.name}{kinds[metric.type]}" for metric in Collector(Silent()).collect()}  # type: ignore[arg-type]
    assert {name.strip("`") for name in rows} == made


def test_the_page_on_benchmarks_lists_the_options() -> None:
    command = ast.parse((ROOT / "benches" / "steelyard_bench" / "command.py").read_text(encoding="utf-8"))
    (bench,) = (node for node in command.body if isinstance(node, ast.FunctionDef) and node.name == "bench")
    names = {argument.arg.rstrip("_") for argument in bench.args.kwonlyargs}

    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    listed = {option for options in _rows(page, "## Options") for option in re.findall(r"--([a-z-]+)", options)}
    assert listed == {f"no-{name}" if name in {"peers", "images"} else name for name in names}


def test_contributing_lists_the_steps_of_the_check() -> None:
    (text,) = re.findall(r"`.ci/run STEP` runs one step:\s(.*?)\.\sDuring", CONTRIBUTING, re.DOTALL)
    (steps,) = re.findall(r"^# .*`.ci/run \[(.*?)\|all\]`", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)

    assert sorted(re.findall(r"`(\w+)`", text)) == sorted(steps.split("|"))


def test_contributing_names_checks_that_exist() -> None:
    table = CONTRIBUTING.partition("## Rules that a check enforces")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(test_\w+(?:\.py)?)`", table))
    files = list((ROOT / "tests").rglob("test_*.py"))
    known = {path.name for path in files}
    known |= {test for path in files for test in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)}

    assert len(named) > 10
    assert named <= known


def test_filters_on_the_pages_ask_for_fields_that_exist() -> None:
    of_things = (filters.BLOB_FIELDS, filters.IMAGE_FIELDS, filters.INGEST_FIELDS, filters.LEASE_FIELDS, EVENT_FIELDS)
    known = {field for fields in of_things for field in fields}
    texts = [
        text
        for page in (README, GUIDE, (ROOT / "docs" / "cli.md").read_text(encoding="utf-8"))
        for text in re.findall(r"""[`"']([a-z_.]+(?:==|!=|~=|<=?|>=?)[^`"'\s]+)[`"']""", page)
    ]
    asked = {path[0] for text in texts for path in filters.compile(text.replace("…", "x")).paths}

    assert len(texts) > 5
    assert asked - {"field"} <= {field.partition(".")[0] for field in known}


def test_every_mechanism_of_the_glossary_has_its_place() -> None:
    glossary = ARCHITECTURE.partition("## Glossary of mechanisms")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in glossary.splitlines() if "`" in line]
    words = [word for word, _, _ in rows]

    assert len(words) == len(set(words)) > 20
    for word, meaning, place in rows:
        assert meaning, word
        assert (ROOT / place.strip("`")).exists(), place


def test_the_table_of_folders_lists_every_page_and_every_folder() -> None:
    table = README[README.index("| Folder | Holds |") :]
    pages = {f"(docs/{page.name})" for page in (ROOT / "docs").glob("*.md")}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    top = {name.partition("/")[0] for name in listed if "/" in name}
    packages = {name.split("/")[2] for name in listed if re.match(r"python/steelyard/\w+/", name)}
    folders = {f"`{name}/" for name in top} | {f"`python/steelyard/{name}/`" for name in packages}

    assert {each for each in pages | folders if each not in table} == set()


def test_environment_variables_of_the_docs_are_read_by_the_code() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "benches" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    named = {name for text in texts.values() for name in re.findall(r"\b(?:STEELYARD|ARCHIVE)_[A-Z_]+\b", text)}
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.rs", ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    code = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in listed.stdout.splitlines())

    assert len(named) > 10
    assert set() == {name for name in named if name not in code} - SETTINGS


def test_settings_of_the_command_line_are_documented_with_their_variables() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")

    assert {name for name in SETTINGS if f"`{name}`" not in page} == set()


def test_modules_that_architecture_names_exist() -> None:
    """It names them below the Python package, below the core, or in full."""
    bases = (ROOT, ROOT / "python" / "steelyard", ROOT / "rust" / "core" / "src")
    named = set(re.findall(r"`([\w-]+/[\w./-]*(?:\.py|\.rs|/)|[\w-]+/[\w-]+)`", ARCHITECTURE))

    assert len(named) > 30
    assert set() == {name for name in named if not any((base / name).exists() for base in bases)}
