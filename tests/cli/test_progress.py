"""The sums behind progress, and the plain lines, on a clock of our own."""

from __future__ import annotations

import importlib.util
import io
import os
import pty
import sys
from typing import Literal

import pytest

from steelyard.cli import stdio
from steelyard.cli.meter import Meter
from steelyard.cli.output import Output
from steelyard.cli.progress import Display, choose_mode
from steelyard.model import Progress

MIB = 1 << 20


class Clock:
    """A clock that goes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def report(phase: str, done: int, total: int | None = None) -> Progress:
    """Return what the library would say."""
    return Progress(phase=phase, name="anything", done=done, total=total)  # type: ignore[arg-type]


def test_a_plain_line_comes_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    display = Display("plain", clock=clock)
    display.begin(Meter())
    follow = display.follow("file")
    assert follow is not None
    follow(report("write", 30 * MIB, 120 * MIB))
    for now in (100.1, 109.9, 110.0, 115.0, 120.1):
        clock.now = now
        display.tick()
    follow(report("commit", 120 * MIB, 120 * MIB))
    clock.now = 140.0
    display.tick()

    out, err = capsys.readouterr()
    assert "" == out
    assert [
        "steelyard: storing, 30.0 MiB of 120.0 MiB (25 %), 3.0 MiB/s, 30 s left: file",
        "steelyard: storing, 30.0 MiB of 120.0 MiB (25 %), 1.5 MiB/s, 60 s left: file",
        "steelyard: committing, 120.0 MiB of 120.0 MiB (100 %), 3.0 MiB/s: file",
    ] == err.splitlines()


def test_a_batch_adds_up_what_is_done_and_what_is_under_way() -> None:
    display = Display("plain", clock=Clock())
    meter = display.begin(Meter(items="file"))
    one, two = display.follow("one"), display.follow("two")
    assert one is not None
    assert two is not None
    one(report("write", 5, 10))
    two(report("write", 7, 100))
    display.finished("one", 10)
    display.finished("small", 3)

    assert (20, 2, None) == (meter.done, meter.items_done, meter.total)


def test_a_phase_that_is_complete_is_not_named_any_more() -> None:
    """100 % and nothing said of what goes on is what people take for a hang."""
    display = Display("plain", clock=Clock())
    meter = display.begin(Meter(total=10))
    follow = display.follow("file")
    assert follow is not None
    shown = [meter.activity]
    for phase, done in (("hash", 5), ("write", 9), ("write", 10), ("commit", 10)):
        follow(report(phase, done, 10))
        shown.append(meter.activity)

    assert ["starting", "hashing", "storing", "finishing", "committing"] == shown


def test_items_are_counted_where_bytes_are_not_known() -> None:
    clock = Clock()
    display = Display("plain", clock=clock)
    meter = display.begin(Meter(items="blob", items_total=2000, activity="deleting"))
    for number in range(500):
        display.finished(str(number), 1024)
    clock.now += 10

    assert "steelyard: deleting, 500.0 KiB, 500 of 2000 blobs, 50.0 KiB/s" == display.plain_line(meter)


def test_nothing_is_shown_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    display = Display("none", clock=clock)
    display.begin(Meter())
    clock.now += 1000
    display.tick()

    assert display.follow("file") is None
    assert ("", "") == capsys.readouterr()


def test_a_terminal_without_rich_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)

        assert "live" == choose_mode(quiet=False, no_progress=False)
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        assert "plain" == choose_mode(quiet=False, no_progress=False)
    os.close(leader)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["plain", "live"])
async def test_nothing_is_shown_in_a_line_of_the_results_that_waits(
    monkeypatch: pytest.MonkeyPatch, mode: Literal["plain", "live"]
) -> None:
    """The terminal is full, or the event loop runs another task first: the clock goes on, and so do the other tasks."""
    clock = Clock()
    display = Display(mode, clock=clock)
    display.begin(Meter())
    monkeypatch.setattr(sys, "stderr", terminal := io.StringIO())

    async def write_halves(data: bytes) -> None:
        terminal.write(data[:3].decode())
        clock.now += 1000
        display.tick()
        display.say("a note")
        terminal.write(data[3:].decode())

    monkeypatch.setattr(stdio, "write", write_halves)
    out = Output("text", while_writing=display.paused)
    out.add_line("result")
    await out.flush()

    assert ["result", "a note"] == terminal.getvalue().splitlines()
    clock.now += 1000
    display.tick()
    assert "starting" in terminal.getvalue()
