"""Rules that a test can hold: lengths, words, tags, strings that must not be in the repository."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from support.rust_sources import blanked

ROOT = Path(__file__).parents[2]
OWN_NAME = str(Path(__file__).relative_to(ROOT))
FILE_LINES = 400
FUNCTION_LINES = 70
HANG_SECONDS = 30

# Character classes keep this file from matching itself.
MACHINE_PATHS = re.compile(r"(?:^|[^A-Za-z0-9_.])/(?:w[o]rk|f[a]rm)/|/r[o]ot/|/h[o]me/|/U[s]ers/")
REGISTRY_HOSTS = re.compile(r"cr[a]tes[.]io|py[p]i[.]org|n[p]mjs[.]|deb[.]de[b]ian|proxy[.]gol[a]ng")
QUIET_GREP = re.compile(r"\|\s*grep\s+(?:-\w+\s+)*-\w*[q]")
LEFT_OPEN = re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X|todo[!]|unimplemented[!])")

# Words that the vocabulary of docs/architecture.md rules out, where no other field claims them too.
BANNED_WORDS = {
    *("upload", "session", "fsck", "tag", "pointer", "bucket", "checksum", "utils", "helpers", "misc"),
    # Former words for mechanisms. The glossary of docs/architecture.md has the present ones.
    *(
        "crew",
        "ring",
        "strip",
        "seat",
        "heir",
        "heirs",
        "keeper",
        "keeping",
        "farewell",
        "goodbye",
        "nicer",
        "tell",
        "gather",
        "intake",
    ),
}

OWN_WORDS = {
    "strip": ("python/steelyard/fs/",),
    "tag": ("python/steelyard/images/", "python/steelyard/cli/images", "rust/objects/"),
    "upload": ("python/steelyard/fs/", "python/steelyard/objects/", "python/steelyard/web/uploads/", "rust/objects/"),
    "bucket": ("rust/objects/",),
    "checksum": ("python/steelyard/web/uploads/", "rust/objects/"),
}
"""Where such a word is the field's own: a tag is part of the name of an image; S3 has buckets, entity tags and multipart uploads;
tus has uploads and checksums. Methods that fsspec calls have its names."""

BANNED_TEXT = re.compile(
    r"(?:\b|_)(?:cr[e]w|h[e]irs?|n[i]cer|s[e]ats?|farew[e]ll|goodb[y]e|step_b[a]ck|leave_b[e]hind|at the d[o]or|told l[a]te|"
    r"a[n]ew|(?:no|any|every|some)b[o]dy|whoe[v]er)(?:\b|_)",
    re.IGNORECASE,
)
"""Former words and figures of speech, in prose and code."""

BEGINS_WITH_WHAT = re.compile(r'^\s*(?:"""|//[/!] )W[h]at\b')
"""A description begins with its subject."""

UNSAFE_FILES = {
    "rust/core/src/hash/lanes/x86/sha256_ni.rs",
    "rust/core/src/hash/lanes/x86/sha256_ymm.rs",
    "rust/core/src/hash/lanes/x86/sha256_zmm.rs",
    "rust/core/src/hash/lanes/x86/sha512_ymm.rs",
    "rust/core/src/hash/lanes/x86/sha512_zmm.rs",
    "rust/core/src/hash/prefetch.rs",
    "rust/core/src/sys/fork.rs",
    "rust/core/src/sys/raw.rs",
    "rust/core/src/sys/sqlite/failure.rs",
    "rust/core/src/sys/sqlite/mappings.rs",
    "rust/core/src/sys/sqlite/mod.rs",
    "rust/core/src/sys/sqlite/mutexes.rs",
    "rust/py/src/buffer.rs",
    "rust/py/src/descriptor.rs",
    "rust/py/src/interpreter.rs",
    "rust/service/src/memory.rs",
    "benches/yardsticks/src/python.rs",
    "benches/yardsticks/src/writeback.rs",
}
"""Where `unsafe` may stand: vector instructions, calls of the system and of the C library that no crate wraps, what Python and SQLite lend, forks."""


def test_no_file_is_longer_than_400_lines() -> None:
    """But the stub of the extension module, which has to be one file; it holds signatures only."""
    files = (name for name in _sources() if not name.endswith("_native.pyi"))
    long = {name: lines for name in files if (lines := len(_text(name).splitlines())) > FILE_LINES}

    assert {} == long


def test_no_python_function_is_longer_than_70_lines() -> None:
    long = {
        f"{name}:{node.lineno} {node.name}": lines
        for name in _sources(".py")
        for node in ast.walk(ast.parse(_text(name)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := _code_lines(node)) > FUNCTION_LINES
    }

    assert {} == long


def test_no_rust_function_is_longer_than_70_lines() -> None:
    long = {
        f"{name}:{line} {function}": lines
        for name in _sources(".rs")
        for function, line, lines in _rust_functions(_text(name))
        if lines > FUNCTION_LINES
    }

    assert {} == long


def test_the_scan_of_rust_functions_understands_strings_comments_and_lifetimes() -> None:
    text = "fn a<'x>(b: &'x str) -> [u8; 2] {\n  let c = \"}\"; // }\n  let d = '{';\n}\ntrait T { fn e(&self); }\n"

    assert [("a", 1, 4)] == list(_rust_functions(text))


def test_names_keep_to_the_vocabulary() -> None:
    wrong = {
        f"{name}: {defined}"
        for name in _sources(".py", ".rs", under=("python/", "rust/"))
        for defined in _defined_names(name)
        for word in BANNED_WORDS & set(re.findall(r"[a-z]+|[A-Z][a-z]*", defined.replace("_", " ").lower()))
        if not name.startswith(OWN_WORDS.get(word, ()))
    }

    assert set() == wrong


def test_text_has_no_former_words_for_mechanisms() -> None:
    places = [match.partition(":")[0] for match in _matches(BANNED_TEXT)]

    assert set() == {name for name in places if name.endswith((".md", ".py", ".pyi", ".rs"))} - {OWN_NAME}


def test_no_description_begins_with_what() -> None:
    assert [] == _matches(BEGINS_WITH_WHAT)


def test_no_file_names_a_machine_path() -> None:
    assert [] == _matches(MACHINE_PATHS)


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert [] == _matches(REGISTRY_HOSTS)


def test_nothing_is_left_open_in_the_code() -> None:
    assert [] == [match for match in _matches(LEFT_OPEN) if match.split(":")[0].endswith((".py", ".rs", ".pyi"))]


def test_limits_of_time_in_tests_are_for_hangs_only() -> None:
    """A test must not fail because the machine is slow: a shorter limit would judge its speed."""
    short = {
        f"{name}:{line}": seconds
        for name in _sources(".py", ".rs", under=("tests/", "benches/tests/", "python/steelyard/testing/", "rust/"))
        for line, seconds in (_limits if name.endswith(".py") else _rust_limits)(name)
        if seconds < HANG_SECONDS
    }

    assert {} == short


def test_no_pipeline_ends_in_a_grep_that_stops_early() -> None:
    """The program before it may then die of SIGPIPE: with pipefail the line fails sometimes."""
    assert [] == _matches(QUIET_GREP)


def test_no_child_runs_python_between_fork_and_exec() -> None:
    """`preexec_fn` does, and forks with all handlers: gRPC's, where a test has used it, ends a child without descriptors."""
    assert [OWN_NAME] == sorted({match.partition(":")[0] for match in _matches(re.compile("preexec_fn"))})


def test_every_sync_and_rename_says_what_a_power_cut_leaves() -> None:
    calls = re.compile(r"\.(?:sync_data|sync_file|sync_fs|sync_dir|rename|link|link_unnamed)\(")
    untagged = [
        place
        for name in _sources(".rs", under=("rust/core/src/",))
        if not name.startswith("rust/core/src/sys/")
        for place in _untagged(name, calls, "DURABILITY:", above=12)
    ]

    assert [] == untagged


def test_every_sync_and_rename_in_python_says_what_a_power_cut_leaves() -> None:
    calls = re.compile(
        r"\bos\.(?:fsync|fdatasync|replace|rename|link)\(|\.(?:rename|hardlink_to)\(|\w*temporary\.replace\("
    )
    untagged = []
    for name in _sources(".py", under=("python/",)):
        lines = _text(name).splitlines()
        for number, line in enumerate(lines):
            if calls.search(line) and not any("DURABILITY:" in above for above in lines[max(0, number - 6) : number]):
                untagged.append(f"{name}:{number + 1}: {line.strip()}")

    assert [] == untagged


def test_every_unsafe_says_why_it_is_safe() -> None:
    unsafe = re.compile(r"\bunsafe\s+(?:\{|impl|fn)")
    untagged = [place for name in _sources(".rs") for place in _untagged(name, unsafe, "SAFETY:", above=4)]

    assert [] == untagged


def test_unsafe_stands_only_in_the_files_meant_for_it() -> None:
    allowed = re.compile(r"allow\(\s*unsafe_code")
    found = {name for name in _sources(".rs") if allowed.search(_text(name))}

    assert set() == found - UNSAFE_FILES


def test_tokio_starts_threads_for_object_storage_only() -> None:
    starts = re.compile(r"\b(?:new_multi_thread|spawn_blocking)\b")
    found = {name for name in _sources(".rs", under=("rust/",)) if starts.search(_text(name))}

    assert "rust/objects/src/runtime.rs" in found
    assert set() == {name for name in found if not name.startswith("rust/objects/src/")}


def test_the_changelog_says_nothing_twice() -> None:
    """Merges of this file keep the lines of both sides: they may repeat a heading or an entry."""
    for release in re.split(r"^## ", _text("CHANGELOG.md"), flags=re.MULTILINE)[1:]:
        lines = [line for line in release.splitlines() if line.startswith(("### ", "- "))]

        assert sorted(set(lines)) == sorted(lines)


def test_the_readme_lists_the_folders() -> None:
    """Those at the top, and those directly below `python/steelyard` and `rust`."""
    listed = re.findall(r"^\| `([\w./-]+)/` \|", _text("README.md"), re.MULTILINE)
    folders = {str(path) for name in _tracked() for path in Path(name).parents}
    wanted = {folder for folder in folders if "/" not in folder} - {".", "python", "rust"}
    wanted |= {folder for folder in folders if re.fullmatch(r"python/steelyard(?:/[^/]+)?|rust/[^/]+", folder)}

    assert wanted == set(listed)


def test_the_readme_names_the_folders_in_each_listed_folder() -> None:
    rows = dict(re.findall(r"^\| `([\w./-]+)/` \| (.*) \|$", _text("README.md"), re.MULTILINE))
    folders = {str(path) for name in _tracked() for path in Path(name).parents}
    inside = {folder: Path(folder).parent for folder in folders if str(Path(folder).parent) in rows}
    inside |= {folder: Path("rust/core") for folder in folders if re.fullmatch(r"rust/core/src/[^/]+", folder)}

    assert [] == sorted(
        folder
        for folder, parent in inside.items()
        if folder not in rows and f"`{Path(folder).name}/`" not in rows[str(parent)]
    )


@cache
def _tracked() -> tuple[str, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def _sources(*suffixes: str, under: tuple[str, ...] = ("",)) -> list[str]:
    suffixes = suffixes or (".py", ".pyi", ".rs")
    written = (name for name in _tracked() if "_pb2" not in name)  # the others are generated
    return [name for name in written if name.endswith(suffixes) and name.startswith(under)]


@cache
def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _matches(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for name in _tracked():
        if name == "Cargo.lock" or b"\0" in (ROOT / name).read_bytes():
            continue
        found += [f"{name}:{n}" for n, line in enumerate(_text(name).splitlines(), 1) if pattern.search(line)]
    return found


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring: docs are to be as long as they need to be."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        assert first.end_lineno is not None
        lines -= first.end_lineno - first.lineno + 1
    return lines


def _limits(name: str) -> Iterator[tuple[int, float]]:
    """Yield the line and the seconds of each limit after which a test fails: numbers, and constants of the file.

    Limits are the timeouts of calls that wait, and times of the clock that are computed to be compared with later ones.
    """
    tree = ast.parse(_text(name))
    numbers = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        for limit in _limits_of(node):
            value = numbers.get(limit.id) if isinstance(limit, ast.Name) else getattr(limit, "value", None)
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield limit.lineno, value


def _limits_of(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [node.right] if ast.unparse(node.left) in {"time.monotonic()", "anyio.current_time()"} else []
    if not isinstance(node, ast.Call):
        return []
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if function not in {"fail_after", "run", "communicate", "wait", "join", "acquire"}:
        return []
    timeouts = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
    return timeouts + (node.args if function in {"fail_after", "wait", "join"} else [])


def _rust_limits(name: str) -> Iterator[tuple[int, float]]:
    """Yield the line and the number of each whole second in tests."""
    if "/tests/" in name or name.endswith("tests.rs"):
        for number, line in enumerate(blanked(_text(name)).splitlines(), 1):
            yield from ((number, float(seconds)) for seconds in re.findall(r"\bfrom_secs\((\d+)\)", line))


def _defined_names(name: str) -> Iterator[str]:
    if name.endswith(".rs"):
        yield from re.findall(r"\b(?:fn|struct|enum|trait|mod)\s+(\w+)", blanked(_text(name)))
        return
    for node in ast.walk(ast.parse(_text(name))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def _rust_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the name, the first line and the number of lines of each function with a body."""
    code = blanked(text)
    for match in re.finditer(r"\bfn\s+(\w+)", code):
        depth = 0
        for end in range(match.end(), len(code)):
            depth += (code[end] in "([{") - (code[end] in ")]}")
            if depth == 0 and code[end] == ";":
                break
            if depth == 0 and code[end] == "}":
                first = code.count("\n", 0, match.start()) + 1
                yield match.group(1), first, code.count("\n", match.start(), end) + 1
                break


def _untagged(name: str, pattern: re.Pattern[str], tag: str, *, above: int) -> Iterator[str]:
    """Yield the places outside of unit tests where `pattern` has no comment with `tag` close above it."""
    lines = _text(name).splitlines()
    code = blanked(_text(name)).splitlines()
    end = next((n for n, line in enumerate(lines) if line.strip() == "#[cfg(test)]"), len(lines))
    if name.endswith("tests.rs") or "/tests/" in name:
        return
    for number, line in enumerate(code[:end]):
        if not pattern.search(line):
            continue
        near = number
        budget = above
        while near > 0 and budget > 0 and tag not in lines[near]:
            near -= 1
            budget -= bool(code[near].strip())  # lines of comments are free: they may be as long as they need to be
        if not any(tag in line for line in (lines[near], *lines[number : number + 2])):
            yield f"{name}:{number + 1}: {lines[number].strip()}"
