"""Rows 20 to 23: a store in a bucket, beside other clients of the same server."""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from steelyard.digest import Digest
from steelyard.hashing import digest_of
from steelyard.local import LocalStore
from steelyard.objects import ObjectStore
from steelyard_bench._gateway import BUCKET, credentials, gateway, missing_gateway
from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Goal, Material, Metrics, Payload, Row, Scale, Start, Work
from steelyard_bench._peers._clients import AT_ONCE, CLIENTS, RANGES, Client, ClientPeer
from steelyard_bench._peers._shape import on_thread, on_threads
from steelyard_bench._sources import Blobs, blobs, write_random
from steelyard_bench._text import size

__all__ = ("Bucket", "put_large", "read_large", "small", "walk")

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
LEAST = 17 * MIB
"""At any scale a large blob has several parts."""

BLOBS = "blobs/sha256/"
LOCAL = "local ingest, then obstore"

_NOTE = "each server a process of its own, on loopback; it has stored the bytes when it answers, and syncs nothing (versitygw)"

Ours = Callable[[ObjectStore, "Bucket"], Awaitable[None]]


@dataclass
class Bucket:
    """The blobs of a row, and a server that has them, started when it is first asked for.

    Attributes:
        blobs: bytes and files.
        digest: names the first of them.
        folder: where the server has its data.
    """

    blobs: Blobs
    digest: Digest
    folder: Path
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _filled: tuple[str, list[Digest]] | None = None

    async def filled(self) -> tuple[str, list[Digest]]:
        """Return the URL of a server that has the blobs, and their digests."""
        if self._filled is None:
            url = await self._stack.enter_async_context(on_threads(gateway(self.folder)))
            sources = self.blobs.data or self.blobs.paths
            async with _opened(url, self.folder / "spool") as store:
                results = store.put_many(sources, concurrency=AT_ONCE)
                digests = [result.result.digest async for result in results]
            self._filled = url, digests
        return self._filled

    async def aclose(self) -> None:
        """End the server."""
        await self._stack.aclose()


def put_large(scale: Scale) -> Row[Bucket]:
    """Row 20: put 1 GiB, a file at 0.9 times the rate of obstore's multipart upload, a stream not slower than ingest and upload."""
    payload = Payload(size=max(LEAST, scale(GIB)))
    ours = ("steelyard, file", "steelyard, known digest", "steelyard, stream")
    works: tuple[Ours, ...] = (_put_file, _put_known, _put_stream)
    return _row(
        20,
        f"put {size(payload.total)} in a bucket",
        payload,
        (
            *(_ours(name, _putting(work), durable=False) for name, work in zip(ours, works, strict=True)),
            Contestant(
                name=LOCAL,
                kind="yardstick",
                start=_ingest_and_upload,
                durable=False,
                note="a LocalStore, then the file of the blob as above",
                missing=_needs(CLIENTS[0]),
            ),
            *_peers(
                "put", _peer_putting(lambda client, bucket: client.put(bucket.blobs.paths[0], "object")), durable=False
            ),
        ),
        *(Goal(contestant=name, at_most=1 / 0.9, to="obstore") for name in ours[:2]),
        Goal(contestant=ours[2], at_most=1.0, to=LOCAL),
        space=6 * payload.total,
    )


def read_large(scale: Scale) -> Row[Bucket]:
    """Row 21: read 1 GiB, verified, at 0.9 times the rate of obstore, which does not verify."""
    payload = Payload(size=max(LEAST, scale(GIB)))
    ours = "steelyard, verified stream"

    def read(client: Client, place: Path, keys: Sequence[str]) -> Metrics:
        return {"read_bytes": client.read(keys[0], place)}

    return _row(
        21,
        f"read {size(payload.total)} from a bucket",
        payload,
        (_ours(ours, _reading(_read), durable=None), *_peers("read", _peer_reading(read), more=(RANGES,))),
        *(Goal(contestant=ours, at_most=1 / 0.9, to=name) for name in ("obstore", RANGES.name)),
        space=4 * payload.total,
    )


def small(scale: Scale) -> Row[Bucket]:
    """Row 22: put and get 10,000 × 4 KiB, as fast as obstore with as many at once."""
    payload = Payload(count=scale(10_000), size=4 * KIB)
    put, get = "steelyard, put_many", "steelyard, get"

    def put_many(client: Client, bucket: Bucket) -> None:
        client.put_many(bucket.blobs.paths, bucket.blobs.data)

    def get_many(client: Client, place: Path, keys: Sequence[str]) -> Metrics:
        return {"read_bytes": client.get_many(keys, place)}

    return _row(
        22,
        f"put {payload.count:,} blobs of {size(payload.size)} in a bucket, and get them, {AT_ONCE} at once",
        payload,
        (
            _ours(put, _putting(_put_many), durable=False, section="put"),
            *_peers("put_many", _peer_putting(put_many), durable=False, section="put"),
            _ours(get, _reading(_get_many), durable=None, section="get"),
            *_peers("get_many", _peer_reading(get_many), section="get"),
        ),
        Goal(contestant=put, at_most=1.0, to="obstore, put"),
        Goal(contestant=get, at_most=1.0, to="obstore, get"),
    )


def walk(scale: Scale) -> Row[Bucket]:
    """Row 23: list 100,000 blobs."""
    payload = Payload(count=scale(100_000), size=16)

    def listed(client: Client, place: Path, keys: Sequence[str]) -> Metrics:
        del place, keys
        return {"listed_count": client.walk(BLOBS)}

    return _row(
        23,
        f"list {payload.count:,} blobs in a bucket",
        payload,
        (_ours("steelyard, walk", _reading(_walk), durable=None), *_peers("walk", _peer_reading(listed))),
        Goal(contestant="steelyard, walk", at_most=1.0, to="obstore"),
    )


def _row(
    number: int,
    title: str,
    payload: Payload,
    contestants: tuple[Contestant[Bucket], ...],
    *goals: Goal,
    space: int = 0,
) -> Row[Bucket]:
    return Row(
        number=number,
        title=title,
        payload=payload,
        material=_material(payload),
        contestants=contestants,
        goals=goals,
        note=_NOTE,
        space=space,
    )


def _material(payload: Payload) -> Material[Bucket]:
    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Bucket]:
        sources = folder / "sources"
        await run(sources.mkdir)
        if payload.count == 1:
            made = Blobs([], [sources / "source"])
            await run(write_random, made.paths[0], payload.size)
        else:
            async with blobs(payload)(sources) as made:
                pass
        bucket = Bucket(made, await digest_of(made.paths[0]), folder)
        try:
            yield bucket
        finally:
            await bucket.aclose()

    return material


def _ours(name: str, start: Start[Bucket], *, durable: bool | None, section: str = "") -> Contestant[Bucket]:
    return Contestant(
        name=name,
        kind="steelyard",
        start=start,
        durable=durable,
        section=section,
        missing=missing_gateway,
    )


def _putting(work: Ours) -> Start[Bucket]:
    """Return the start of a work of ours that stores the blobs of the row in an empty bucket."""

    @asynccontextmanager
    async def start(bucket: Bucket, place: Path) -> AsyncIterator[Work]:
        async with on_threads(gateway(place)) as url, _opened(url, place / "spool") as store:
            yield partial(work, store, bucket)

    return start


def _reading(work: Callable[[ObjectStore, Sequence[Digest]], Awaitable[Metrics]]) -> Start[Bucket]:
    """Return the start of a work of ours on a bucket that has the blobs."""

    @asynccontextmanager
    async def start(bucket: Bucket, place: Path) -> AsyncIterator[Work]:
        url, digests = await bucket.filled()
        async with _opened(url, place / "spool") as store:
            yield partial(work, store, digests)

    return start


@asynccontextmanager
async def _opened(url: str, spool: Path) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(f"s3://{BUCKET}?endpoint={url}", spool=spool)
    with credentials():
        await store.aopen()
    async with store:
        yield store


PeerStart = Callable[[ClientPeer], Start[Bucket]]


def _peers(
    method: str, start: PeerStart, *, durable: bool | None = None, section: str = "", more: Sequence[ClientPeer] = ()
) -> tuple[Contestant[Bucket], ...]:
    return tuple(
        Contestant(
            name=f"{peer.name}, {section}" if section else peer.name,
            kind="peer",
            start=start(peer),
            durable=durable,
            note=peer.notes[method],
            section=section,
            algorithm="",
            missing=_needs(peer),
        )
        for peer in (*CLIENTS, *more)
    )


def _needs(peer: ClientPeer) -> Callable[[], str | None]:
    return lambda: missing_gateway() or peer.available()


def _peer_putting(work: Callable[[Client, Bucket], None]) -> PeerStart:
    def starting(peer: ClientPeer) -> Start[Bucket]:
        @asynccontextmanager
        async def start(bucket: Bucket, place: Path) -> AsyncIterator[Work]:
            async with on_threads(gateway(place)) as url, on_threads(peer.connect(url)) as client:
                yield on_thread(partial(work, client, bucket))

        return start

    return starting


def _peer_reading(work: Callable[[Client, Path, Sequence[str]], Metrics]) -> PeerStart:
    def starting(peer: ClientPeer) -> Start[Bucket]:
        @asynccontextmanager
        async def start(bucket: Bucket, place: Path) -> AsyncIterator[Work]:
            url, digests = await bucket.filled()
            keys = [f"{BLOBS}{digest.encoded}" for digest in digests]
            async with on_threads(peer.connect(url)) as client:
                yield on_thread(partial(work, client, place, keys))

        return start

    return starting


async def _put_file(store: ObjectStore, bucket: Bucket) -> None:
    await store.put(bucket.blobs.paths[0])


async def _put_known(store: ObjectStore, bucket: Bucket) -> None:
    await store.put(bucket.blobs.paths[0], expected=bucket.digest)


async def _put_stream(store: ObjectStore, bucket: Bucket) -> None:
    with _pieces(bucket.blobs.paths[0]) as pieces:
        await store.put(pieces)


async def _put_many(store: ObjectStore, bucket: Bucket) -> None:
    async for result in store.put_many(bucket.blobs.data, concurrency=AT_ONCE):
        if result.error is not None:
            raise result.error


@asynccontextmanager
async def _ingest_and_upload(bucket: Bucket, place: Path) -> AsyncIterator[Work]:
    """Store a stream in a LocalStore, and then upload the file of its blob."""
    peer = CLIENTS[0]
    async with (
        LocalStore(place / "local") as local,
        on_threads(gateway(place)) as url,
        on_threads(peer.connect(url)) as client,
    ):

        async def work() -> None:
            with _pieces(bucket.blobs.paths[0]) as pieces:
                digest = (await local.put(pieces)).digest
            path = place / "local" / "blobs" / digest.algorithm / digest.encoded
            await anyio.to_thread.run_sync(client.put, path, "object")

        yield work


@contextmanager
def _pieces(path: Path) -> Iterator[Iterator[memoryview]]:
    """Give the bytes of a file one piece after the other, without a way back: a stream."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
        memoryview(mapped) as whole,
    ):
        yield (whole[at : at + MIB] for at in range(0, len(whole), MIB))


async def _read(store: ObjectStore, digests: Sequence[Digest]) -> Metrics:
    read = 0
    async with store.reader_at(digests[0]) as reader, reader.stream() as stream:
        while True:
            try:
                read += len(await stream.receive(MIB))
            except anyio.EndOfStream:
                return {"read_bytes": read}


async def _get_many(store: ObjectStore, digests: Sequence[Digest]) -> Metrics:
    left, read = iter(digests), 0

    async def some() -> None:
        nonlocal read
        for digest in left:
            data = await store.get(digest)
            read += len(data)

    async with anyio.create_task_group() as tasks:
        for _ in range(AT_ONCE):
            tasks.start_soon(some)
    return {"read_bytes": read}


async def _walk(store: ObjectStore, digests: Sequence[Digest]) -> Metrics:
    del digests
    return {"listed_count": len([info async for info in store.walk()])}
