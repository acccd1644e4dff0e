"""Imports of the Rust crates run one way, and names of the disk stand in one place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.rust_sources import RUST_TEXT, Crate, blanked, circles, shipped

RUST = Path(__file__).parents[2] / "rust"
CRATES = ("core", "objects", "py", "service")

LAYERS = (
    {"error"},
    {"digest", "rfc3339", "sorting", "waiting"},
    {"archive", "hash", "model", "threads"},
    {"filter", "format"},
    {"sys"},
    {"directory", "pipe"},
    {"volume"},
    {"store"},
)
"""A file of the core imports from layers above its own in this list only, and from its own. A new module needs a place."""

HOMES = {"Store": "store", "Volume": "volume"}
"""Where the methods of a type stand."""

SYSTEM_CALLS = "open|open_dir|open_cached|create|mkdir|stat_at|unlink|rmdir|rename|link|link_unnamed"
"""Calls of the trait `Sys` that take the name of a file or directory."""

OTHER_MEANINGS = {
    ("archive/json/references.rs", "blobs"),
    ("error.rs", "ingest"),
    ("filter/operand.rs", "total"),
    ("filter/subject.rs", "ref"),
    ("filter/subject.rs", "total"),
}
"""Strings that are no names of the disk: what is missing, in a message, and the fields of filters and documents."""


@cache
def _of_name(name: str) -> Crate:
    return Crate(RUST / name / "src")


@pytest.fixture
def core() -> Crate:
    return _of_name("core")


@pytest.mark.parametrize("name", CRATES)
def test_no_file_uses_itself_through_others(name: str) -> None:
    found = circles(_of_name(name).edges())

    assert [] == [sorted("::".join(module) for module in circle) for circle in found]


def test_layers_of_the_core_import_one_way(core: Crate) -> None:
    assert [] == list(_wrong_imports(core, LAYERS))


def test_every_module_of_the_core_has_a_layer(core: Crate) -> None:
    assert {module[0] for module in core.files if module} == set.union(*LAYERS)


def test_methods_stand_in_the_layer_of_their_type(core: Crate) -> None:
    assert [] == list(_stray_methods(core))


def test_names_of_the_disk_stand_in_format(core: Crate) -> None:
    assert [] == list(_spelled_names(core))


def test_system_calls_get_names_from_format(core: Crate) -> None:
    assert [] == list(_made_names(core))


def test_the_core_needs_no_python_and_no_other_crate_of_the_project() -> None:
    manifest = tomllib.loads((RUST / "core" / "Cargo.toml").read_text())

    assert set() == {name for name in manifest["dependencies"] if name.startswith(("pyo3", "steelyard"))}


def test_the_yardsticks_share_no_code_with_the_store() -> None:
    """Shared code would hide its faults. An example compares both."""
    yardsticks = RUST.parent / "benches" / "yardsticks"
    manifest = tomllib.loads((yardsticks / "Cargo.toml").read_text())

    assert set() == {name for name in manifest["dependencies"] if name.startswith("steelyard")}
    assert set() == {path for path in (yardsticks / "src").rglob("*.rs") if "steelyard_core" in path.read_text()}


def _wrong_imports(crate: Crate, layers: tuple[set[str], ...]) -> Iterator[str]:
    level = {name: number for number, names in enumerate(layers) for name in names}
    for module, used in crate.edges().items():
        for other in used:
            if module and other and module[0] != other[0] and level[other[0]] >= level[module[0]]:
                yield f"{'::'.join(module)} uses {'::'.join(other)}"


def _stray_methods(crate: Crate) -> Iterator[str]:
    for module, path in crate.files.items():
        for name in re.findall(r"\bimpl\b[^{;]*?\b(?:for\s+)?(\w+)(?:<[^{;]*?>)?\s*(?:where\b[^{]*)?\{", _code(path)):
            if name in HOMES and module[:1] != (HOMES[name],):
                yield f"{'::'.join(module)} has methods of {name}"


def _spelled_names(crate: Crate) -> Iterator[str]:
    names = {
        value
        for module in (("format", "names"), ("format", "containerd"))
        for value in re.findall(r'const \w+: &str = "([^"]+)"', crate.files[module].read_text(encoding="utf-8"))
    }
    for path in _outside_format(crate):
        file = str(path.relative_to(crate.src))
        text = shipped(path.read_text(encoding="utf-8"))
        for literal in RUST_TEXT.finditer(text):
            value = literal.group().lstrip("br#").strip('"#')
            # The first argument of `at` and the field of an error say what was tried.
            tried = re.search(r"(?:\.at\(|operation:)\s*$", text[: literal.start()])
            if set(value.split("/")) & names and '"' in literal.group() and not tried:
                if literal.group().startswith("//") or (file, value) in OTHER_MEANINGS:
                    continue
                yield f"{file}: {literal.group()}"


def _made_names(crate: Crate) -> Iterator[str]:
    for path in _outside_format(crate):
        text = shipped(path.read_text(encoding="utf-8"))
        code = blanked(text)
        for call in re.finditer(rf"\bsys(?:\(\)|\.as_ref\(\))*\s*\.(?:{SYSTEM_CALLS})\(", code):
            if '"' in text[call.end() : _end_of_call(code, call.end())]:
                yield f"{path.relative_to(crate.src)}: {call.group()}…"


def _end_of_call(code: str, start: int) -> int:
    depth = 1
    for end in range(start, len(code)):
        depth += (code[end] == "(") - (code[end] == ")")
        if depth == 0:
            return end
    return len(code)


def _outside_format(crate: Crate) -> list[Path]:
    return [path for module, path in crate.files.items() if module[:1] != ("format",)]


def _code(path: Path) -> str:
    return blanked(shipped(path.read_text(encoding="utf-8")))


def _crate(src: Path, **files: str) -> Crate:
    """Make a crate of these files, whose names have `__` for `/`."""
    for name, text in files.items():
        path = src / f"{name.replace('__', '/')}.rs"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Crate(src)


@pytest.mark.parametrize(
    "child",
    [
        "use super::Parent;",
        "use super::{other, Parent};",
        "use crate::a::{self, Parent as P};",
        "fn f() -> crate::a::Parent {}",
        "fn f() -> super::Parent {}",
    ],
)
def test_a_circle_is_found(tmp_path: Path, child: str) -> None:
    crate = _crate(tmp_path, lib="mod a;", a="mod b;\nuse b::Child;\nstruct Parent;", a__b=child)

    assert [{("a",), ("a", "b")}] == circles(crate.edges())


def test_a_circle_through_a_name_that_is_passed_on_is_found(tmp_path: Path) -> None:
    crate = _crate(
        tmp_path,
        lib="mod a;",
        a="mod b;\nmod c;\npub use b::B;\nuse c::C;",
        a__b="use super::C;",
        a__c="use crate::a::B;",
    )

    assert [{("a", "b"), ("a", "c")}] == circles(crate.edges())


def test_modules_passed_on_names_and_tests_make_no_circle(tmp_path: Path) -> None:
    crate = _crate(
        tmp_path,
        lib="mod a;\npub use a::Parent;",
        a="mod b;\n#[cfg(test)]\nmod tests;\npub use b::Child;\nstruct Parent;\n// use b::Child\n",
        a__b='use super::Parent;\n#[cfg(test)]\nmod tests {\n  use crate::a::tests::X;\n}\nconst A: &str = "super::X";',
        a__tests="use super::*;\nuse super::b::Child;",
    )

    assert [] == circles(crate.edges())
    assert {("a",): set(), ("a", "b"): {("a",)}, (): set()} == crate.edges()


def test_a_lower_layer_that_imports_a_higher_one_is_found(tmp_path: Path) -> None:
    files = {"lib": "mod low;\nmod high;", "low": "use crate::high::X;", "high": "struct X;"}
    crate = _crate(tmp_path, **files)

    assert ["low uses high"] == list(_wrong_imports(crate, ({"low"}, {"high"})))
    assert ["low uses high"] == list(_wrong_imports(crate, ({"low", "high"},)))
    assert [] == list(_wrong_imports(crate, ({"high"}, {"low"})))


@pytest.mark.parametrize("header", ["impl Store", "impl Deref for Store", "impl<'a> From<&'a str> for Store"])
def test_a_method_of_a_store_in_another_layer_is_found(tmp_path: Path, header: str) -> None:
    text = f"{header} {{}}\n#[cfg(test)]\nmod tests {{ impl Store {{}} }}"
    crate = _crate(tmp_path, lib="mod a;\nmod store;", a=text, store=text)

    assert ["a has methods of Store"] == list(_stray_methods(crate))


@pytest.mark.parametrize("text", ['"meta.db"', 'b"lock"', 'open("blobs/sha256")', 'r#"lock"#'])
def test_a_name_of_the_disk_in_another_layer_is_found(tmp_path: Path, text: str) -> None:
    names = "".join(f'pub const {name.upper()[:2]}: &str = "{name}";\n' for name in ("meta.db", "lock", "blobs"))
    files = {"lib": "mod a;\nmod format;", "format": "mod names;\nmod containerd;", "format__containerd": ""}
    other = '// "lock"\nf().at("lock", path);\n#[cfg(test)]\nmod tests { const A: &str = "lock"; }\n'
    crate = _crate(tmp_path, **files, format__names=names, a=f"fn f() {{ g({text}); }}\n{other}")

    assert [f"a.rs: {RUST_TEXT.search(text).group()}"] == list(_spelled_names(crate))  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ['"x"', '&format!("{name}.1")'])
def test_a_name_that_is_made_for_a_system_call_is_found(tmp_path: Path, name: str) -> None:
    crate = _crate(tmp_path, lib="mod a;", a=f'fn f() {{ self.sys.unlink(dir(), {name}).at("unlink", path) }}')

    assert ["a.rs: sys.unlink(…"] == list(_made_names(crate))


@pytest.mark.parametrize("name", CRATES)
def test_every_file_is_read(name: str) -> None:
    crate = _of_name(name)
    left = set(crate.src.rglob("*.rs")) - set(crate.files.values())
    others = re.compile(r"/(?:tests|vectors|model)(?:\.rs|/)|/service/src/proto/")  # tests, and what is generated

    assert set() == {str(path) for path in left if not others.search(str(path))}
