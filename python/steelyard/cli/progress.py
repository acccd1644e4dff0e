"""Progress on standard error: a live line on a terminal, otherwise a plain line every 10 s.

A `Display` shows a `Meter`, which adds up the library's reports. rich's columns render the live line, but this module draws
it, without rich's own thread and redirections, so that results can be written to standard output on the same
terminal in between.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from steelyard.cli import stdio
from steelyard.cli.meter import Meter
from steelyard.cli.names import human_size
from steelyard.cli.printing import printable
from steelyard.cli.streams import write_stderr
from steelyard.model import OnProgress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

__all__ = ("Display", "Mode", "choose_mode")

Mode = Literal["live", "plain", "none"]

LIVE_SECONDS = 0.1
PLAIN_SECONDS = 10.0


def choose_mode(*, quiet: bool, no_progress: bool) -> Mode:
    """Return the way to show progress: a terminal that cannot move its cursor, and a CI log, get plain lines.

    So does a terminal without rich, which the extra `cli` installs.
    """
    if quiet or no_progress:
        return "none"
    able = stdio.is_terminal(sys.stderr.fileno()) and os.environ.get("TERM") != "dumb" and not os.environ.get("CI")
    return "live" if able and _has_rich() else "plain"


def _has_rich() -> bool:
    from importlib.util import find_spec  # noqa: PLC0415 - on a terminal only

    return find_spec("rich") is not None


class Display:
    """Shows a meter on standard error.

    Args:
        mode: the way in which progress is shown.
        clock: returns the time in seconds.
    """

    def __init__(self, mode: Mode, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.mode = mode
        self._clock = clock
        self._meter: Meter | None = None
        self._bars: Bars | None = None
        self._bar: TaskID | None = None
        self._drawn = False
        self._paused = False
        self._waiting: list[str] = []
        self._started_at = self._shown_at = clock()

    def begin(self, meter: Meter) -> Meter:
        """Show this meter from now on, and return it."""
        self._meter = meter
        self._started_at = self._shown_at = self._clock()
        return meter

    def follow(self, name: str) -> OnProgress | None:
        """Return the callback for the library's reports of one item, or None if no progress is shown."""
        return None if self._meter is None or self.mode == "none" else self._meter.follow(name)

    def finished(self, name: str, size: int) -> None:
        """Count one item as done."""
        if self._meter is not None:
            self._meter.finished(name, size)

    def end(self) -> None:
        """End the display, and erase the live line."""
        self.erase()
        self._meter = None

    def tick(self) -> None:
        """Show the meter's state if it is due; called several times a second."""
        if self._meter is None or self.mode == "none" or self._paused:
            return
        now = self._clock()
        if now - self._shown_at < (LIVE_SECONDS if self.mode == "live" else PLAIN_SECONDS):
            return
        self._shown_at = now
        if self.mode == "live":
            self._draw(self._meter)
        else:
            write_stderr(self.plain_line(self._meter))

    def say(self, *lines: str) -> None:
        """Write lines to standard error, while the display is paused at the end of the pause."""
        if self._paused:
            self._waiting += lines
            return
        self.erase()
        write_stderr(*lines)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write nothing to standard error in this block.

        Results are being written to the same terminal. The write may wait after half a line, and other tasks run
        meanwhile: their output must neither appear in that line nor erase it.
        """
        self.erase()
        self._paused = True
        try:
            yield
        finally:
            self._paused = False
            waiting, self._waiting = self._waiting, []
            write_stderr(*waiting)

    def erase(self) -> None:
        """Erase the live line."""
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._drawn = False

    def plain_line(self, meter: Meter) -> str:
        """Return the meter as a line for a log."""
        if meter.line:
            return f"steelyard: {printable(meter.line)}"
        seconds = max(self._clock() - self._started_at, 0.001)
        rate = meter.done / seconds
        words = [meter.activity, human_size(meter.done)]
        if meter.total is not None:
            share = 100 * meter.done / meter.total if meter.total else 100
            words[-1] += f" of {human_size(meter.total)} ({share:.0f} %)"
        if meter.count:
            words.append(meter.count)
        words.append(f"{human_size(rate)}/s")
        if meter.total is not None and rate > 0 and meter.done < meter.total:
            words.append(f"{(meter.total - meter.done) / rate:.0f} s left")
        return f"steelyard: {', '.join(words)}" + (f": {printable(meter.name)}" if meter.name else "")

    def _draw(self, meter: Meter) -> None:
        if meter.line:
            import shutil  # noqa: PLC0415 - slow to import, and needed on a terminal only

            width = shutil.get_terminal_size().columns - 1
            self._put(printable(meter.line)[:width])
            return
        bars, bar = self._prepare()
        count = f"{meter.count}  " if meter.count else ""
        bars.update(bar, completed=meter.done, total=meter.total, description=f"{count}{meter.activity}")
        bars.update(bar, rate=f"{human_size(bars.tasks[0].speed or 0)}/s")  # rich's own column has powers of ten
        with bars.console.capture() as captured:
            bars.console.print(bars.make_tasks_table(bars.tasks), end="", no_wrap=True, overflow="crop")
        self._put(captured.get().split("\n")[0].rstrip())

    def _put(self, line: str) -> None:
        sys.stderr.write("\r\x1b[2K" + line)
        sys.stderr.flush()
        self._drawn = True

    def _prepare(self) -> tuple[Bars, TaskID]:
        if self._bars is None or self._bar is None:
            from rich.console import Console  # noqa: PLC0415 - takes 50 ms, and only a terminal needs it
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                DownloadColumn,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bars  # noqa: PLC0415

            self._bars = Bars(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                DownloadColumn(binary_units=True),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeRemainingColumn(compact=True),
                console=Console(file=sys.stderr, highlight=False),
                auto_refresh=False,
            )
            self._bar = self._bars.add_task("starting", total=None, rate="")
        return self._bars, self._bar
