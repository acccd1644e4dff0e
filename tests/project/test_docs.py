"""The examples of the documentation run: programs as they are, commands with the output shown under them."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "steelyard"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROSE = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "benches" / "README.md"]
INSTALLS = re.compile(r"pip install|\.ci/run")
"""Commands that install something: `.ci/run` runs them, word for word."""


def _blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each fenced block of the language."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start()) + 1, match.group(1)


WITH_SERVER = {"downloads.md", "object-storage.md"}
"""Pages whose programs need a server: `tests/fetch/test_page.py` and `tests/objects/test_page.py` run them."""

PROGRAMS = [
    (f"{page.name}:{line}", text)
    for page in PAGES
    if page.name not in WITH_SERVER
    for line, text in _blocks(page, "python")
]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give an environment in which `steelyard` is the command of the code under test, with no settings of the user's."""
    command = tmp_path / "bin" / "steelyard"
    command.parent.mkdir()
    program = "import sys; from steelyard.cli import main; sys.exit(main())"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(program)} "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEELYARD_")}
    return kept | {
        "HOME": str(tmp_path),
        "NO_COLOR": "1",
        "PATH": f"{command.parent}:{kept.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "STEELYARD_ALLOW_DEBUG": "1",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for _, text in PROGRAMS], ids=[name for name, _ in PROGRAMS])
def test_programs_in_the_docs_run(text: str, tmp_path: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_examples_in_docstrings_give_what_they_show(path: Path) -> None:
    name = ".".join(("steelyard", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    found = doctest.testmod(importlib.import_module(name))

    assert found.failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(_blocks(page, "console"))], ids=lambda page: page.name)
def test_commands_in_the_docs_do_what_is_shown(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """The blocks of a page run in order in one directory; `…` in the shown output stands for anything."""
    work = tmp_path / "work"
    work.mkdir()
    for line, block in _blocks(page, "console"):
        for command, shown in _commands(block):
            if INSTALLS.search(command):
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            place = f"{page.name}:{line}: {command}\n{done.stdout}"
            code = re.search(r"# exit (\d+)$", command)
            assert done.returncode == (int(code.group(1)) if code else 0), place
            wanted = r".*?^".join(_pattern(text) for text in shown)
            assert re.search(rf"^{wanted}", done.stdout, re.MULTILINE | re.DOTALL) or not shown, place


def _commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block with the lines shown under it; a trailing backslash goes on."""
    lines = iter(block.replace("\\\n", "").splitlines())
    command: str | None = None
    shown: list[str] = []
    for line in lines:
        if line.startswith("$ "):
            if command is not None:
                yield command, shown
            command, shown = line.removeprefix("$ "), []
        elif line.strip():
            shown.append(line)
    if command is not None:
        yield command, shown


def _pattern(line: str) -> str:
    """Compare a shown line loosely: any run of blanks is as good as another, `…` is anything on the line."""
    words = [r"[^\n]*?".join(re.escape(part) for part in word.split("…")) for word in line.split()]
    return r"[ \t]*" + r"[ \t]+".join(words) + r"[ \t]*$"


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]

    assert [] == [link for link in local if not (page.parent / link).exists()]


def test_files_and_folders_that_the_docs_name_exist() -> None:
    """In prose and in commands."""
    named = re.compile(r"(?<![\w/.-])((?:python|rust|tests|docs|examples|benches)/[\w./-]*[\w/])")
    missing = {
        f"{page.name}: {name}"
        for page in PROSE
        for name in named.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }

    assert set() == missing


def test_the_readme_has_one_line_to_try_and_one_to_test() -> None:
    """`.ci/run` finds them by these words."""
    commands = [command for _, block in _blocks(ROOT / "README.md", "console") for command, _ in _commands(block)]

    assert [True] == ["put -r" in command for command in commands if "put -r" in command]
    assert [True] == ["pytest" in command for command in commands if "pytest" in command]
