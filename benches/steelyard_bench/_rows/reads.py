"""Rows 8 and 9: reading a large blob, and small ranges that are in the page cache."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio import EndOfStream

from steelyard.content import ReaderAt
from steelyard.digest import Digest
from steelyard.local import LocalStore
from steelyard_bench import _yardsticks
from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Goal, Kind, Material, Payload, Row, Scale, Work
from steelyard_bench._peers import reading, verifying
from steelyard_bench._rows.calls import BARE, bare
from steelyard_bench._sources import blocking, write_random
from steelyard_bench._text import size

__all__ = ("large", "ranges")

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
RANGE = 64 * KIB
TASKS = 64


@dataclass(frozen=True)
class Stored:
    """A blob in a store.

    Attributes:
        store: is open.
        digest: names the blob.
        path: its file.
        memory: as long as the blob, and touched.
    """

    store: LocalStore
    digest: Digest
    path: Path
    memory: bytearray

    @property
    def files(self) -> Sequence[Path]:
        """The file, for contestants that take many."""
        return [self.path]


def stored(size: int) -> Material[Stored]:
    """Return what stores a blob of random bytes, which stays in the page cache."""

    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Stored]:
        source = folder / "source"
        await run(write_random, source, size)
        async with LocalStore(folder / "store") as store:
            digest = (await store.put(source)).digest
            await run(source.unlink)
            path = folder / "store" / "blobs" / digest.algorithm / digest.encoded
            yield Stored(store, digest, path, bytearray(os.urandom(1)) * size)

    return material


def large(scale: Scale) -> Row[Stored]:
    """Row 8: into memory at most 1.15 times a loop of reads; a verified stream at most 1.05 H."""
    payload = Payload(size=scale(GIB))
    memory, stream = "into memory, unverified", "verified"
    plain = f"reads of {size(MIB)}"
    return Row(
        number=8,
        title=f"read a blob of {size(payload.total)} from the page cache",
        payload=payload,
        material=stored(payload.total),
        contestants=(
            _ours("steelyard, readinto_at", _read_into, memory, algorithm=""),
            Contestant(
                name=plain,
                kind="yardstick",
                start=blocking(_plain_read),
                durable=None,
                section=memory,
                algorithm="",
            ),
            *reading(_files, _memory, section=memory),
            _ours(f"steelyard, stream by {size(MIB)}", partial(_stream, most=MIB), stream),
            _ours("steelyard, stream as it comes", _iterate, stream),
            Contestant(
                name="read beside hash",
                kind="yardstick",
                start=blocking(_verify),
                durable=None,
                section=stream,
                note="a thread each",
            ),
            *verifying(payload, _files, section=stream),
        ),
        goals=(
            Goal(contestant="steelyard, readinto_at", at_most=1.15, to=plain),
            Goal(contestant=f"steelyard, stream by {size(MIB)}", at_most=1.05),
            Goal(contestant="steelyard, stream as it comes", at_most=1.05),
        ),
    )


def ranges(scale: Scale) -> Row[Stored]:
    """Row 9: alone at most 1.1 times a bare thread's answer; among 64, at most 8 µs each."""
    count = max(TASKS, scale(4096))
    return Row(
        number=9,
        title=f"read {size(RANGE)} of a blob that is in the page cache, into memory",
        payload=None,
        material=stored(64 * MIB if scale.divisor == 1 else 4 * MIB),
        contestants=(
            _ranges("steelyard", "steelyard, alone", _ours_at, count, tasks=1),
            bare(count, section=_section(1)),
            _ranges("peer", "anyio.to_thread, alone", _theirs_at, count, tasks=1),
            _ranges("steelyard", "steelyard, at once", _ours_at, count, tasks=TASKS),
            _ranges("peer", "anyio.to_thread, at once", _theirs_at, count, tasks=TASKS),
        ),
        goals=(
            Goal(contestant="steelyard, alone", at_most=1.1, to=BARE),
            Goal(
                contestant="steelyard, at once",
                at_most=8e-6,
                to=None,
                metric="each_seconds",
                reason="a plain `preadv` of 64 KiB takes 13 µs on the machine of the record: it is the copy that costs",
            ),
        ),
    )


def _ours(
    name: str,
    function: Callable[[Stored], Awaitable[None]],
    section: str,
    *,
    algorithm: str = "sha256",
) -> Contestant[Stored]:
    @asynccontextmanager
    async def start(material: Stored, place: Path) -> AsyncIterator[Work]:
        del place
        yield partial(function, material)

    return Contestant(name=name, kind="steelyard", start=start, durable=None, section=section, algorithm=algorithm)


async def _read_into(material: Stored) -> None:
    async with material.store.reader_at(material.digest) as reader:
        await reader.readinto_at(0, material.memory)


async def _stream(material: Stored, *, most: int) -> None:
    async with material.store.reader_at(material.digest) as reader, reader.stream() as stream:
        while True:
            try:
                await stream.receive(most)
            except EndOfStream:
                return


async def _iterate(material: Stored) -> None:
    async with material.store.reader_at(material.digest) as reader, reader.stream() as stream:
        async for _ in stream:
            pass


def _plain_read(material: Stored, _: Path) -> None:
    _yardsticks.read(material.path, material.memory, most=MIB)


def _verify(material: Stored, _: Path) -> None:
    _yardsticks.verify(material.path, algorithm="sha256")


def _files(material: Stored) -> Sequence[Path]:
    return material.files


def _memory(material: Stored) -> bytearray:
    return material.memory


ReadOne = Callable[[ReaderAt, int, memoryview], Awaitable[object]]


def _ranges(kind: Kind, name: str, read: ReadOne, count: int, *, tasks: int) -> Contestant[Stored]:
    """Return a contestant that reads ranges all over the blob, each task into memory of its own."""

    @asynccontextmanager
    async def start(material: Stored, place: Path) -> AsyncIterator[Work]:
        del place
        async with material.store.reader_at(material.digest) as reader:
            yield partial(_read_all, reader, read, count // tasks, tasks)

    return Contestant(
        name=name,
        kind=kind,
        start=start,
        durable=None,
        section=_section(tasks),
        algorithm="",
        items=count // tasks * tasks,
    )


def _section(tasks: int) -> str:
    return "one at a time" if tasks == 1 else f"{tasks} at once"


async def _read_all(reader: ReaderAt, read: ReadOne, turns: int, tasks: int) -> None:
    places = reader.size // RANGE

    async def some(number: int) -> None:
        with memoryview(bytearray(RANGE)) as memory:
            for turn in range(turns):
                await read(reader, (number + turn * tasks) * 7 % places * RANGE, memory)

    if tasks == 1:
        await some(0)
        return
    async with anyio.create_task_group() as group:
        for number in range(tasks):
            group.start_soon(some, number)


async def _ours_at(reader: ReaderAt, offset: int, memory: memoryview) -> None:
    await reader.readinto_at(offset, memory)


async def _theirs_at(reader: ReaderAt, offset: int, memory: memoryview) -> None:
    await anyio.to_thread.run_sync(os.preadv, reader.fileno(), [memory], offset)
