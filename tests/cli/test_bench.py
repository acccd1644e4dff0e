"""`bench`: what a person sees of it, what scripts read, and what it leaves, which is nothing."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from steelyard.bench import ContestantResult, GoalResult, Report, RowResult, Sample

from .runner import Shell, end

WORK = ("bench", "--quick", "--rows", "4", "--no-peers")
ROW = (*WORK, "--rounds", "1")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory whose syncs cost nothing, where there is one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_row_is_measured_told_and_written(shell: Shell, memory: Path, backend: str) -> None:
    files = ("--json", "all.json", "--svg", "plot.svg", "--markdown", "goals.md")

    done = shell.run(*ROW, "--backend", backend, "--directory", memory, *files)

    assert "Row 4: put 312 blobs of 4 KiB by put_many, sha256" == done.lines[0]
    assert "batch with syncfs" in done.out
    assert "steelyard: weak: sizes are divided by 32" in done.err
    assert "steelyard: 1 row: " in done.err
    assert [] == list(memory.iterdir())
    again = shell.run("bench", "--from", "all.json", "--format", "json").document
    assert (backend, 1, 32) == (again["backend"], again["rounds"], again["divisor"])
    assert {"H", "steelyard", "batch with syncfs"} <= {entry["name"] for entry in again["rows"][0]["contestants"]}
    assert "svg" in ET.parse(shell.home / "plot.svg").getroot().tag
    assert "| 4 | put 312 blobs of 4 KiB by put_many, sha256 | steelyard |" in (shell.home / "goals.md").read_text()


@pytest.mark.parametrize("kind", [Report, RowResult, ContestantResult, Sample, GoalResult])
def test_the_page_names_every_field_of_the_document(kind: type[msgspec.Struct]) -> None:
    page = (
        (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8").partition("`bench --format json` prints")[2]
    )
    text = page.partition("\n\n`stat` and")[0]

    assert [] == [name for name in kind.__struct_fields__ if f"`{name}`" not in text]


def test_json_lines_are_rows_the_run_and_a_summary(shell: Shell, memory: Path) -> None:
    rows, run, summary = shell.run(*ROW, "--directory", memory, "--format", "jsonl").records

    assert ("bench_row", 4) == (rows["type"], rows["number"])
    assert ("bench", []) == (run["type"], run["rows"])
    assert {"type": "summary", "command": "bench", "rows": 1, "failed": 0} == {
        name: summary[name] for name in ("type", "command", "rows", "failed")
    }
    assert len(rows["goals"]) == summary["met"] + summary["missed"] + summary["unknown"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_ctrl_c_leaves_nothing(shell: Shell, memory: Path, backend: str) -> None:
    process = shell.start(*WORK, "--directory", memory, "--rounds", "100", "--backend", backend)
    while not list(memory.glob("steelyard-bench-*/*round*")):
        assert process.poll() is None

    code, out, err = end(process, signal.SIGINT)

    assert (130, "") == (code, out)
    assert err.endswith("steelyard: interrupted\n")
    assert [] == list(memory.iterdir())


def test_a_disk_that_is_too_full_is_refused(shell: Shell, memory: Path) -> None:
    done = shell.run(*WORK, "--directory", memory, "--rounds", "1000000000", code=9)

    assert "the rounds need" in done.err
    assert f"next: df -h {memory}" in done.err
    assert [] == list(memory.iterdir())


def test_what_a_killed_run_left_is_told(shell: Shell, memory: Path) -> None:
    (memory / "steelyard-bench-gone").mkdir()

    done = shell.run(*ROW, "--directory", memory)

    assert f"rm -r {memory}/steelyard-bench-gone" in done.err


def test_what_cannot_be_done_is_said_before_anything_is_measured(shell: Shell) -> None:
    (shell.home / "other.json").write_text("{}")

    assert "--rows '77': expected some of 1, 2, " in shell.run("bench", "--rows", "1,77", code=2).err
    assert "--rounds 0: expected 1 or more" in shell.run("bench", "--rounds", "0", code=2).err
    assert "No such file" in shell.run(*ROW, "--json", "no/such/folder", code=3).err
    assert "No such file" in shell.run(*ROW, "--directory", "no/such/folder", code=3).err
    assert "--from other.json: expected what --json wrote" in shell.run("bench", "--from", "other.json", code=2).err


def test_a_debug_build_is_refused_unless_it_is_allowed(shell: Shell, memory: Path) -> None:
    program = (
        "import sys, steelyard.bench as bench, steelyard.cli.bench as command\n"
        "command.debug_build = True\n"
        "from steelyard.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = ["python3", "-c", program, *ROW, "--directory", str(memory)]
    environment = {name: value for name, value in shell.environment.items() if name != "STEELYARD_ALLOW_DEBUG"}

    done = subprocess.run(words, env=environment, cwd=shell.home, capture_output=True, text=True)

    assert 2 == done.returncode
    assert "the extension is a debug build" in done.stderr
    assert [] == list(memory.iterdir())
