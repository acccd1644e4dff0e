"""The cost of `put -r` for each file, counted: hops to a thread, turns of the event loop, and system calls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .runner import Shell

FILES = 2000

PROGRAM = """
import json, sys
from steelyard._runtime import calls
from steelyard.cli import main
code = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump(calls.counts(), file)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a tree of many small files. Look, don't touch."""
    top = tmp_path_factory.mktemp("many")
    for number in range(FILES):
        directory = top / f"{number % 20:02}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number:04}").write_text(f"file {number}\n")
    return top


def counts(shell: Shell, *words: str | Path) -> dict[str, int]:
    """Run a command line and return what it did with threads."""
    found = shell.home / "counts"
    command = [sys.executable, "-c", PROGRAM, str(found), *map(str, words)]
    done = subprocess.run(command, cwd=shell.home, env=shell.environment, capture_output=True, check=True, timeout=120)
    assert FILES == len(done.stdout.splitlines())
    result: dict[str, int] = json.loads(found.read_text())
    return result


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_tree_takes_few_hops_to_a_thread(shell: Shell, many: Path, backend: str) -> None:
    """Eight batches and two steps of the walk; the rest opens and closes the store."""
    assert counts(shell, "--backend", backend, "put", "-r", many)["pieces"] <= 30


def test_files_that_are_named_one_by_one_take_as_few(shell: Shell, many: Path) -> None:
    paths = sorted(path for path in many.rglob("*") if path.is_file())

    assert counts(shell, "put", *paths)["pieces"] <= 30
