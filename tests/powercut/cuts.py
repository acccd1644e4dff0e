"""Power cuts: the states of a disk that its log of writes and flushes allows.

A cut at a number of operations leaves all writes before the last flush, and of the later ones any part: whole writes, and of
some only certain sectors of 512 bytes. A sector that is written twice between flushes holds its first or its second bytes,
or its old ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from powercut.logged_disk import DISCARD, FLUSH, WRITE, Operation, punch_hole

__all__ = ("Cut", "Image", "choose")

SECTOR = 512

Whole = Callable[[Operation], bool]
"""Tells whether a file system needs that write to be done whole or not at all."""


@dataclass(frozen=True)
class Cut:
    """A state: all operations before `flushed`, and of the later ones before `at` some, with the sectors that are kept."""

    at: int
    flushed: int
    kept: dict[int, Sequence[int] | None] = field(repr=False)
    """Operation to sectors; None: all of it."""
    torn: int
    dropped: int


def choose(operations: Sequence[Operation], at: int, chance: Random, whole: Whole) -> Cut:
    """Return a random state of a disk that lost its power after so many operations."""
    flushed = next((number + 1 for number in reversed(range(at)) if operations[number].kind == FLUSH), 0)
    share = chance.choice([0.0, 1.0, chance.random(), chance.random(), chance.random()])
    tearing = chance.choice([0.0, 0.1, 0.5])
    kept: dict[int, Sequence[int] | None] = {}
    torn = 0
    for number in range(flushed, at):
        operation = operations[number]
        sectors = operation.size // SECTOR
        if chance.random() >= share:
            continue
        kept[number] = None
        if operation.kind == WRITE and sectors > 1 and chance.random() < tearing and not whole(operation):
            kept[number] = _part(sectors, chance)
            torn += 1
    return Cut(at, flushed, kept, torn, at - flushed - len(kept))


def _part(sectors: int, chance: Random) -> Sequence[int]:
    """Return the sectors that a torn write leaves: the first ones, the last ones, or any."""
    end = chance.randrange(1, sectors)
    return chance.choice(
        [range(end), range(end, sectors), [sector for sector in range(sectors) if chance.random() < 0.5]]
    )


class Image:
    """The bytes of a disk as of its flushes, which only go forward, and copies of it after a cut."""

    def __init__(self, path: Path, operations: Sequence[Operation]) -> None:
        self._path = path
        self._operations = operations
        self._done = 0

    def after(self, cut: Cut, path: Path) -> None:
        """Write the state after a cut to `path`. Cuts come in the order of their flushes."""
        with _opened(self._path) as image:
            _apply(image, self._operations[self._done : cut.flushed])
        self._done = cut.flushed
        _copy(self._path, path)
        with _opened(path) as image:
            for number, sectors in cut.kept.items():
                _apply(image, [self._operations[number]], sectors)


class _opened:  # noqa: N801  # used like a function
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _apply(image: int, operations: Iterable[Operation], sectors: Sequence[int] | None = None) -> None:
    for operation in operations:
        if operation.kind == DISCARD:
            punch_hole(image, operation.offset, operation.size)
        elif operation.kind == WRITE and sectors is None:
            os.pwrite(image, operation.data, operation.offset)
        elif operation.kind == WRITE:
            for start in (sector * SECTOR for sector in sectors or ()):
                os.pwrite(image, operation.data[start : start + SECTOR], operation.offset + start)


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its holes."""
    with source.open("rb") as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        for start, end in _data(old.fileno(), size):
            os.lseek(new.fileno(), start, os.SEEK_SET)
            while start < end:
                start += os.sendfile(new.fileno(), old.fileno(), start, end - start)  # noqa: PLW2901


def _data(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a file that are not holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
