"""`steelyard-bench`: what a person sees of it, what scripts read, and that it leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from steelyard_bench._results import ContestantResult, GoalResult, Report, RowResult, Sample

PROGRAM = (sys.executable, "-c", "import sys; from steelyard_bench.command import main; sys.exit(main())")
WORK = ("--quick", "--rows", "4", "--no-peers", "--no-images")
ROW = (*WORK, "--rounds", "1")
ENVIRONMENT = os.environ | {"STEELYARD_ALLOW_DEBUG": "1"}


def run(folder: Path, *words: object, code: int = 0, environment: dict[str, str] = ENVIRONMENT) -> tuple[str, str]:
    """Run the command in a folder; return its output and what it said on standard error."""
    done = subprocess.run(
        [*PROGRAM, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    assert code == done.returncode, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_row_is_measured_shown_and_written(tmp_path: Path, memory: Path, backend: str) -> None:
    files = ("--json", "all.json", "--svg", "plot.svg", "--markdown", "goals.md")

    out, err = run(tmp_path, *ROW, "--backend", backend, "--directory", memory, *files)

    assert out.startswith("Row 4: put 312 blobs of 4 KiB by put_many, sha256\n")
    assert "batch with syncfs" in out
    assert "steelyard-bench: weak: sizes are divided by 32" in err
    assert "steelyard-bench: 1 row: " in err
    assert [] == list(memory.iterdir())
    report = msgspec.json.decode((tmp_path / "all.json").read_bytes(), type=Report)
    assert (backend, 1, 32) == (report.backend, report.rounds, report.divisor)
    assert {"H", "steelyard", "batch with syncfs"} <= {entry.name for entry in report.rows[0].contestants}
    assert "svg" in ET.parse(tmp_path / "plot.svg").getroot().tag
    assert "| 4 | put 312 blobs of 4 KiB by put_many, sha256 | steelyard |" in (tmp_path / "goals.md").read_text()
    assert out == run(tmp_path, "--from", "all.json")[0]


def test_json_on_standard_output_is_all_there_is(tmp_path: Path, memory: Path) -> None:
    out, _ = run(tmp_path, *ROW, "--directory", memory, "--json", "-")

    assert [4] == [row.number for row in msgspec.json.decode(out, type=Report).rows]


@pytest.mark.parametrize("kind", [Report, RowResult, ContestantResult, Sample, GoalResult])
def test_the_page_names_every_field_of_the_document(kind: type[msgspec.Struct]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text("utf-8")

    assert [] == [name for name in kind.__struct_fields__ if f"`{name}`" not in page]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, memory: Path, backend: str, number: signal.Signals) -> None:
    words = [*PROGRAM, *WORK, "--directory", str(memory), "--rounds", "100", "--backend", backend]
    process = subprocess.Popen(
        words, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(memory.glob("steelyard-bench-*/*round*")):
        assert process.poll() is None
        time.sleep(0.01)

    process.send_signal(number)
    out, err = process.communicate(timeout=100)

    code, word = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "ended by SIGTERM")}[number]
    assert (code, "") == (process.returncode, out)
    assert err.endswith(f"steelyard-bench: {word}\n")
    assert [] == list(memory.iterdir())


def test_a_disk_that_is_too_full_is_refused(tmp_path: Path, memory: Path) -> None:
    _, err = run(tmp_path, *WORK, "--directory", memory, "--rounds", "1000000000", code=9)

    assert "the rounds need" in err
    assert [] == list(memory.iterdir())


def test_what_a_killed_run_left_is_named(tmp_path: Path, memory: Path) -> None:
    (memory / "steelyard-bench-gone").mkdir()

    _, err = run(tmp_path, *ROW, "--directory", memory)

    assert f"rm -r {memory}/steelyard-bench-gone" in err


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--rows", "1,77"], 2, "--rows '77': expected some of 1, 2, "),
        (["--rounds", "0"], 2, "--rounds 0: expected 1 or more"),
        (["--row", "1"], 2, "--row"),
        ([*ROW, "--json", "no/such/folder"], 3, "No such file"),
        ([*ROW, "--directory", "no/such/folder"], 3, "No such file"),
        (["--from", "other.json"], 2, "--from other.json: expected what --json wrote"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_measured(
    tmp_path: Path, words: list[str], code: int, expected: str
) -> None:
    (tmp_path / "other.json").write_text("{}")

    assert expected in run(tmp_path, *words, code=code)[1]


def test_a_debug_build_is_refused_unless_it_is_allowed(tmp_path: Path, memory: Path) -> None:
    program = (
        "import sys, steelyard_bench.command as command\n"
        "command.debug_build = True\n"
        "sys.exit(command.main(sys.argv[1:]))"
    )
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "STEELYARD_ALLOW_DEBUG"}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *ROW, "--directory", str(memory)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert 2 == done.returncode
    assert "steelyard is a debug build" in done.stderr
    assert [] == list(memory.iterdir())
