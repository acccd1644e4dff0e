"""`ingests` and `abort`."""

from __future__ import annotations

import json
import signal

import pytest

from .runner import Shell, end, sha256

WRONG = f"sha256:{'0' * 64}"


def leave_ingest(shell: Shell, ref: str, data: bytes) -> None:
    """Leave an unfinished ingest: its bytes are kept when they are not the expected ones."""
    shell.run("put", "-", f"--ref={ref}", "--expected", WRONG, stdin=data, code=5)


@pytest.fixture
def busy(shell: Shell) -> Shell:
    """Give a shell whose store has two unfinished ingests."""
    leave_ingest(shell, "one/../two", b"x" * 3000)
    leave_ingest(shell, "--odd\nname", b"y")
    return shell


def test_they_are_listed_in_the_order_of_refs(busy: Shell) -> None:
    assert [r"--odd\nname", "one/../two"] == busy.run("ingests", "-q").lines
    odd, plain = busy.run("ingests", "--format", "json").document["ingests"]
    assert {
        "type": "ingest",
        "ref": "--odd\nname",
        "offset": 1,
        "total": None,
        "expected": WRONG,
    }.items() <= odd.items()
    assert ("one/../two", 3000) == (plain["ref"], plain["offset"])
    assert plain["started_at"].endswith("Z")
    assert ["2.9 KiB", "one/../two"] == [busy.run("ingests", "ref~=two").out[:10].strip(), plain["ref"]]


def test_abort_discards_and_a_dry_run_does_not(busy: Shell) -> None:
    dry = busy.run("abort", "one/../two", "--dry-run", "--format", "json").document["aborted"]
    assert [{"type": "aborted", "ref": "one/../two", "offset": 3000, "dry_run": True}] == dry

    busy.run("abort", "absent", "one/../two", "--", "--odd\nname", code=3)

    assert [] == busy.run("ingests").lines
    assert [] == list((busy.store / "ingest").iterdir())


def test_a_wrong_stream_keeps_its_bytes_and_says_how_to_drop_them(shell: Shell) -> None:
    done = shell.run("put", "-", "--ref", "it's", "--expected", WRONG, stdin=b"x", code=5)

    assert "next: steelyard abort 'it'\"'\"'s'" in done.err
    assert [f"{sha256(b'x')}  -"] == shell.run(
        "put", "-", "--ref", "it's", "--expected", sha256(b"x"), stdin=b"x"
    ).lines


def test_watch_reports_changes_as_they_happen(busy: Shell) -> None:
    process = busy.start("ingests", "--watch", "--interval", "0.05", "--format", "jsonl")
    assert process.stdout is not None
    first = [json.loads(process.stdout.readline())["ref"] for _ in range(2)]
    busy.run("abort", "one/../two")
    gone = json.loads(process.stdout.readline())

    code, rest, _ = end(process, signal.SIGINT)

    assert ["--odd\nname", "one/../two"] == first
    assert {"type": "ingest_gone", "ref": "one/../two"} == gone
    assert 130 == code
    assert "summary" == json.loads(rest.splitlines()[-1])["type"]
    assert "expected --format text or jsonl" in busy.run("ingests", "--watch", "--format", "json", code=2).err
