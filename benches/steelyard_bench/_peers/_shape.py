"""The type of a peer: another program or package that does the work of a row, with a list of what it leaves out."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
from anyio import CancelScope

from steelyard_bench._inside import Pool
from steelyard_bench._model import Contestant, Metrics, Payload, Work

__all__ = (
    "Peer",
    "PeerStart",
    "calling",
    "contestant",
    "each",
    "needs_package",
    "needs_program",
    "on_thread",
    "on_threads",
)

MaterialT = TypeVar("MaterialT")

PeerStart = Callable[[Sequence[Path], Path], AbstractAsyncContextManager[Work]]
"""Prepares one round, given the files to work on and a fresh, empty folder; what it gives is timed."""


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A peer, before it is known in which row it takes part.

    Attributes:
        name: as the report shows it.
        start: prepares a round.
        durable: whether data and names survive the loss of power; None if nothing is written.
        note: what it leaves out.
        algorithm: what it hashes with; empty if it does not.
        most: files of one round, for what is too slow to do them all; the time is scaled up.
        most_rounds: rounds it takes part in.
        python: whether it is a package or a way of Python, which ours has to be faster than.
        available: returns why it cannot take part, or None; see `Contestant.missing`.
    """

    name: str
    start: PeerStart
    durable: bool | None
    note: str
    algorithm: str = "sha256"
    most: int | None = None
    most_rounds: int | None = None
    python: bool = False
    available: Callable[[], str | None] | None = None


def contestant(
    peer: Peer, payload: Payload, paths: Callable[[MaterialT], Sequence[Path]], *, section: str = ""
) -> Contestant[MaterialT]:
    """Let a peer take part in a row.

    Args:
        peer: who.
        payload: what the row is about.
        paths: finds the files to work on in the row's material.
        section: of the row.
    """
    count = payload.count if peer.most is None else min(payload.count, peer.most)

    @asynccontextmanager
    async def start(material: MaterialT, place: Path) -> AsyncIterator[Work]:
        async with peer.start(paths(material)[:count], place) as work:
            yield work

    return Contestant(
        name=peer.name,
        kind="peer",
        start=start,
        durable=peer.durable,
        note=peer.note,
        section=section,
        algorithm=peer.algorithm,
        share=count / payload.count,
        most_rounds=peer.most_rounds,
        missing=peer.available,
    )


def calling(function: Callable[[Sequence[Path], Path], object]) -> PeerStart:
    """Return the start of a peer that is a plain function."""

    @asynccontextmanager
    async def start(files: Sequence[Path], place: Path) -> AsyncIterator[Work]:
        yield on_thread(partial(function, files, place))

    return start


def on_thread(function: Callable[[], object]) -> Work:
    """Return work that calls a function on a thread of anyio, and tells the metrics that it returns, if it does.

    Not on one of ours: Python would keep a record of a thread that it has not started, for ever, as soon as any code on it
    asks which thread it is. The way there takes 0.1 ms.
    """

    async def work() -> Metrics | None:
        done = await anyio.to_thread.run_sync(function)
        return done if isinstance(done, Mapping) else None

    return work


@asynccontextmanager
async def on_threads(context: AbstractContextManager[Any]) -> AsyncIterator[Any]:
    """Enter and leave a context manager that blocks, also where a round is cancelled."""
    entered = await anyio.to_thread.run_sync(context.__enter__)
    try:
        yield entered
    finally:
        with CancelScope(shield=True):
            await anyio.to_thread.run_sync(context.__exit__, None, None, None)


def each(threads: int, function: Callable[[Path, Path], object], files: Sequence[Path], folder: Path) -> None:
    """Call a function for every file: in this thread if one is enough, else in so many."""
    if threads < 2:
        for file in files:
            function(file, folder)
        return
    with Pool(threads) as pool:
        for _ in pool.map(lambda file: function(file, folder), files):
            pass


def needs_package(module: str, package: str) -> Callable[[], str | None]:
    """Return what tells whether a Python package is there."""

    def missing() -> str | None:
        return None if importlib.util.find_spec(module) else f"not installed: pip install {package}"

    return missing


def needs_program(program: str, *, root: bool = False) -> Callable[[], str | None]:
    """Return what tells whether a program is there, and may be run."""

    def missing() -> str | None:
        if shutil.which(program) is None:
            return f"{program} is not installed"
        if root and os.geteuid() != 0:
            return f"{program} works as root only"
        return None

    return missing
