"""The cost of `put -r` for each file: hops to a thread, system calls and memory, and what its loop computes in one go."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from gate.calls import count_calls, why_no_strace
from support.stalls import watched

from steelyard.cli.commands import Options
from steelyard.cli.context import Context
from steelyard.cli.put import put

from .runner import Shell

FILES = 2000

MEMORY_OF_A_FILE = 100
"""Bytes. A list of the files would take more for each path alone."""

SHARE = 0.15
"""Two of 47 batches may be reported in one go, which is a share of 0.04."""

ATTEMPTS = 5

PROGRAM = """
import json, os, resource, sys
from gate.calls import BEGIN, END
from steelyard._runtime import calls
from steelyard.cli import main
os.access(BEGIN, os.F_OK)
code = main(sys.argv[2:])
os.access(END, os.F_OK)
with open(sys.argv[1], "w") as file:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    json.dump(calls.counts() | {"memory": 1024 * memory}, file)
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


def counts(shell: Shell, *words: str | Path, under: Sequence[str] = (), files: int = FILES) -> dict[str, int]:
    """Run a command line, perhaps under another program, and return what it did with threads, and its memory at most."""
    found = shell.home / "counts"
    command = [*under, sys.executable, "-c", PROGRAM, str(found), *map(str, words)]
    done = subprocess.run(command, cwd=shell.home, env=shell.environment, capture_output=True, check=True, timeout=120)
    assert files == len(done.stdout.splitlines())
    result: dict[str, int] = json.loads(found.read_text())
    return result


def system_calls(shell: Shell, many: Path, directories: int) -> int:
    """Return the system calls of `put -r` of so many directories of 100 files each."""
    log = shell.home / "log"
    paths = sorted(many.iterdir())[:directories]
    under = ("strace", "-f", "-qq", "-e", "signal=none", "-o", str(log))
    counts(shell, "--store", f"store-{directories}", "put", "-r", *paths, under=under, files=100 * directories)
    with log.open(encoding="utf-8", errors="replace") as lines:
        names = count_calls(lines).names
    return names.total() - names["fcntl"]  # Rust's debug builds check descriptors


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_tree_takes_few_hops_to_a_thread(shell: Shell, many: Path, backend: str) -> None:
    """Eight batches and two steps of the walk; the rest opens and closes the store."""
    assert counts(shell, "--backend", backend, "put", "-r", many)["hops"] <= 20


def test_files_that_are_named_one_by_one_take_as_few(shell: Shell, many: Path) -> None:
    paths = sorted(path for path in many.rglob("*") if path.is_file())

    assert counts(shell, "put", *paths)["hops"] <= 20


@pytest.mark.slow
def test_a_file_takes_few_system_calls(shell: Shell, many: Path) -> None:
    """Thirteen: one for the walk, six to read it, one to look for the blob, and five to store it."""
    if (reason := why_no_strace()) is not None:
        pytest.skip(reason)

    few, more = system_calls(shell, many, 4), system_calls(shell, many, 8)

    assert (more - few) / 400 <= 14


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_tree_of_any_size_takes_the_same_memory(shell: Shell, many: Path, backend: str) -> None:
    words = ("--backend", backend, "put", "-r")
    counts(shell, *words, many)

    few = counts(shell, *words, *[many] * 2, files=2 * FILES)["memory"]
    more = counts(shell, *words, *[many] * 12, files=12 * FILES)["memory"]

    assert (more - few) / (10 * FILES) < MEMORY_OF_A_FILE


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_event_loop_goes_on_while_a_tree_is_stored(
    tmp_path: Path, many: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop reports the results of a batch in one go, and never does the work itself, or that of many batches."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    shares = []
    for attempt in range(ATTEMPTS):
        context = Context(Options(store=str(tmp_path / f"{attempt}"), format="jsonl"), [], "put")
        loop = await watched(put(*[str(many)] * 6, recursive=True, context=context))
        shares.append(loop.longest / loop.process)
        if shares[-1] < SHARE:
            break

    capfd.readouterr()
    assert min(shares) < SHARE, shares
