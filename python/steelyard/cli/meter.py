"""The sums of progress: the library reports single items, and a meter adds them up."""

from __future__ import annotations

from steelyard.cli.names import counted
from steelyard.model import OnProgress, Progress

__all__ = ("Meter",)

_PHASES = {"hash": "hashing", "write": "storing", "commit": "committing", "read": "reading", "verify": "verifying"}
_PHASES |= {"wait": "waiting", "mark": "marking", "remove": "removing"}


class Meter:
    """The sum of many reports: bytes done, bytes to do, finished items and the current phase.

    Args:
        total: the total number of bytes, or None if it is unknown.
        items: the kind of the items, ``file`` or ``blob``; empty for a single thing.
        items_total: the total number of items, or None if it is unknown.
        activity: the phase of work that the library does not report.
    """

    def __init__(
        self,
        *,
        total: int | None = None,
        items: str = "",
        items_total: int | None = None,
        activity: str = "starting",
    ) -> None:
        self.total = total
        self.items = items
        self.items_total = items_total
        self.items_done: int = 0
        self.phase: str = activity
        self.name: str = ""
        self._finished = 0
        self._active: dict[str, int] = {}

    @property
    def activity(self) -> str:
        """The current phase. It is never a phase that has ended: a long stay at 100 % would look like a hang."""
        complete = self.total is not None and self.done >= self.total
        return "finishing" if complete and self.phase in {"reading", "storing"} else self.phase

    @property
    def count(self) -> str:
        """The number of finished items; empty for a single thing."""
        if not self.items or self.items_total is None:
            return counted(self.items_done, self.items) if self.items else ""
        return f"{self.items_done} of {counted(self.items_total, self.items)}"

    @property
    def line(self) -> str:
        """The text for work that is not counted in bytes, otherwise empty."""
        return ""

    @property
    def done(self) -> int:
        """Bytes done."""
        return self._finished + sum(self._active.values())

    def follow(self, name: str) -> OnProgress:
        """Return the callback for the library's reports of one item."""

        def update(report: Progress) -> None:
            self._take(name, report)

        return update

    def take(self, report: Progress) -> None:
        """Add one report of the library, under its name."""
        self._take(report.name, report)

    def _take(self, name: str, report: Progress) -> None:
        self._active[name] = report.done
        self.name = name
        self.phase = _PHASES[report.phase]
        if not self.items and report.total is not None:
            self.total = report.total

    def finished(self, name: str, size: int) -> None:
        """Count one item as done."""
        self._active.pop(name, None)
        self._finished += size
        self.items_done += 1
