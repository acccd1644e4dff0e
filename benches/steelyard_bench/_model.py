"""The parts of a row: contestants that do the same work, and goals that compare them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

__all__ = (
    "FULL",
    "QUICK",
    "Contestant",
    "Goal",
    "H",
    "Kind",
    "Material",
    "Metrics",
    "Over",
    "Payload",
    "Row",
    "Scale",
    "Start",
    "Work",
)

H = "H"
"""The name of the contestant that the framework adds to every row with a payload: SHA-256 of the same bytes, alone."""

Kind = Literal["steelyard", "yardstick", "peer"]
"""Ours through the public API; the least that any program would have to do; another program or package."""

Metrics = Mapping[str, float]
"""Values that a round measured besides its time. The name ends with the unit: ``_seconds``, ``_bytes`` or ``_count``.

A work that prepares something inside the call and times the rest itself says so: ``seconds`` and ``cpu_seconds`` replace what
the framework measured.
"""

Work = Callable[[], Awaitable[Metrics | None]] | Callable[[], Metrics | None]
"""One round of the work, timed. A coroutine function runs in the event loop, any other on a thread."""

Over = Literal["median", "most"]
"""How a goal combines the rounds."""

MaterialT = TypeVar("MaterialT")

Material = Callable[[Path], AbstractAsyncContextManager[MaterialT]]
"""Makes, in the folder given, what the contestants of a row work on; once, untimed."""

Start = Callable[[MaterialT, Path], AbstractAsyncContextManager[Work]]
"""Prepares one round in a fresh, empty folder and tidies up after it, both untimed; what it gives is timed."""


@dataclass(frozen=True)
class Scale:
    """How much smaller than in the table of goals the work is: to try it, or to test it."""

    divisor: int = 1

    def __call__(self, number: int) -> int:
        """Return a count or a size, scaled, at least 1."""
        return max(1, number // self.divisor)


FULL = Scale()
QUICK = Scale(32)


@dataclass(frozen=True, kw_only=True)
class Payload:
    """The bytes that the work of a row is about.

    Attributes:
        count: blobs.
        size: bytes of each.
    """

    count: int = 1
    size: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.count * self.size


@dataclass(frozen=True, kw_only=True)
class Contestant(Generic[MaterialT]):
    """One way to do the work of a row.

    Attributes:
        name: unique in its row.
        kind: whose it is.
        start: prepares a round.
        durable: whether data and names survive the loss of power when the work is done; None if nothing is written.
        note: for peers and yardsticks what it leaves out, or how it does it; in a few words.
        section: the part of the row, where a row has several that are not compared with each other.
        algorithm: what it hashes with; empty if it does not.
        items: how many things one round does, for the time of each; by default the payload's count.
        share: the part of the work that one round does, for what is too slow to do all of it; times are scaled up.
        most_rounds: take part in so many rounds only, the warm-up aside.
        missing: returns why it cannot take part here (and what to install), or None; runs on a thread.
    """

    name: str
    kind: Kind
    start: Start[MaterialT]
    durable: bool | None
    note: str = ""
    section: str = ""
    algorithm: str = "sha256"
    items: int | None = None
    share: float = 1.0
    most_rounds: int | None = None
    missing: Callable[[], str | None] | None = None


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A goal of a contestant.

    Attributes:
        contestant: its name.
        at_most: the largest ratio, or, without `to`, the largest value in the unit of the metric.
        to: the contestant that it is compared with, round by round; None for a goal that is no ratio.
        metric: ``seconds`` (of a round), ``each_seconds`` (of each item), or one that the work returns.
        over: what is taken of the rounds: the median (of each round's own ratio), or the largest value of each contestant.
        stretch: a smaller `at_most`, to aim at.
        reason: why it is missed where it was recorded, as measured, and the next idea; told where it is missed.
    """

    contestant: str
    at_most: float
    to: str | None = H
    metric: str = "seconds"
    over: Over = "median"
    stretch: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Row(Generic[MaterialT]):
    """One kind of work, done by several contestants in the same rounds.

    Attributes:
        number: its number in the table of goals.
        title: the work, in a line.
        payload: the bytes it is about, for H and for the space it takes; None where bytes are not the point.
        material: makes what the contestants work on.
        contestants: the programs that do it; the first of a section is ours.
        goals: what ours are to reach.
        note: what a reader should know of how it is measured.
        space: bytes of large files on the disk at any one time, where the payload does not tell.
        writes: bytes that one round writes, where the payload does not tell.
        small_files: whether it creates so many small files that the file system decides; it runs on fresh ones (`_disks`).
    """

    number: int
    title: str
    payload: Payload | None
    material: Material[MaterialT]
    contestants: tuple[Contestant[MaterialT], ...]
    goals: tuple[Goal, ...]
    note: str = ""
    space: int = 0
    writes: int = 0
    small_files: bool = False

    def __post_init__(self) -> None:
        """Check that the goals name contestants, which nothing else would notice before the end of a long run."""
        names = [contestant.name for contestant in self.contestants]
        known = {*names, H} if self.payload is not None else set(names)
        named: set[Any] = {goal.contestant for goal in self.goals} | {goal.to for goal in self.goals if goal.to}
        if len(set(names)) < len(names) or H in names:
            raise ValueError(f"row {self.number}: two contestants of one name in {names}")
        if not named <= known:
            raise ValueError(f"row {self.number}: goals for unknown contestants {named - known}")
