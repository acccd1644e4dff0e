"""The gate fails when something got worse, and only then. What it measures is in `benches/gate`."""

from __future__ import annotations

from pathlib import Path

import pytest
from gate.__main__ import main
from gate.calls import BEGIN, END, count_calls
from gate.jobs import JOBS, slacks
from gate.record import RECORD, Record, compare, table

JOB = "256 ranges of 64 KiB"
WAKES = f"{JOB}: wakes"


def gate(file: Path) -> int:
    return main(["--counts-only", "--only", JOB, "--file", str(file)])


def doctored(folder: Path, **values: float) -> Path:
    record = Record.read(RECORD)
    record.counts |= {f"{JOB}: {name}": value for name, value in values.items()}
    record.write(folder / "record.json")
    return folder / "record.json"


@pytest.mark.slow
def test_the_gate_passes_what_is_as_recorded(tmp_path: Path) -> None:
    assert 0 == gate(doctored(tmp_path))


@pytest.mark.slow
def test_the_gate_fails_with_a_table_when_a_count_is_above_its_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 1 == gate(doctored(tmp_path, wakes=1))

    *_, heading, worst, verdict = capsys.readouterr().out.splitlines()
    assert ["recorded", "found", "ratio"] == heading.split()
    assert worst.startswith(f"{WAKES} ")
    assert worst.endswith(" worse")
    assert "FAILED: 1 worse" in verdict


@pytest.mark.slow
def test_a_count_that_fell_fails_nothing_and_can_be_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == gate(doctored(tmp_path, wakes=4000))

    assert "1 better than recorded by more than 20 %; a new record holds them" in capsys.readouterr().out


@pytest.mark.slow
def test_a_count_without_a_record_fails(tmp_path: Path) -> None:
    Record().write(tmp_path / "record.json")

    assert 1 == gate(tmp_path / "record.json")


@pytest.mark.parametrize(
    ("recorded", "found", "verdict"),
    [
        (10, 12, "as recorded"),
        (10, 12.1, "worse"),
        (10, 8.4, "as recorded"),
        (10, 8.3, "better"),
        (0, 0, "as recorded"),
        (0, 1, "worse"),
        (0.001, 0.003, "as recorded"),
    ],
)
def test_worse_is_more_than_a_fifth_above_the_record(recorded: float, found: float, verdict: str) -> None:
    assert [verdict] == [line.verdict for line in compare({"a": recorded}, {"a": found})]


@pytest.mark.parametrize(("found", "verdict"), [(9, "as recorded"), (10, "worse")])
def test_a_count_that_chance_changes_is_worse_above_its_slack(found: float, verdict: str) -> None:
    assert [verdict] == [line.verdict for line in compare({"a": 5}, {"a": found}, {"a": 4})]


def test_every_slack_is_of_a_recorded_count() -> None:
    assert set(slacks()) <= set(Record.read(RECORD).counts)


def test_a_count_that_is_not_measured_is_reported() -> None:
    assert "a" in table(compare({"a": 1}, {}))
    assert "not measured" in table(compare({"a": 1}, {}))


def test_ratios_of_another_machine_hold_nothing() -> None:
    record = Record(counts={"a": 1}, ratios={"one": {"b / c": 1.5}})

    assert {"a": 1} == record.for_machine("another")
    assert {"a": 1, "b / c": 1.5} == record.for_machine("one")


def test_every_job_is_recorded() -> None:
    recorded = {name.partition(":")[0] for name in Record.read(RECORD).counts}

    assert {job.name for job in JOBS} == recorded


def test_system_calls_are_counted_once_between_the_marks() -> None:
    log = f"""\
1 read(3, "", 9) = 9
1 access("{BEGIN}", F_OK) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD, "a = 7", O_RDONLY) = 4
2 write(4, "x"..., 10 <unfinished ...>
1 futex(0x1, FUTEX_WAKE, 1) = 1
2 <... write resumed>) = 10
1 read(4, 0x1, 5) = -1 EAGAIN (Resource temporarily unavailable)
1 preadv2(4, [], 1, 0, RWF_NOWAIT) = -1 EOPNOTSUPP (Operation not supported)
1 fdatasync(4) = 0
1 access("{END}", F_OK) = -1 ENOENT (No such file or directory)
1 write(1, "{{}}", 2) = 2
"""

    found = count_calls(log.splitlines())

    assert {"openat": 1, "write": 1, "read": 1, "fdatasync": 1} == found.names
    assert {"opens": 1, "writes": 1, "reads": 1, "renames": 0, "syncs": 1} == found.kinds()
    assert (10, 0) == (found.written, found.read)


def test_a_log_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing of the job"):
        count_calls(["1 read(3) = 0"])
