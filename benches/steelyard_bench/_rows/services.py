"""Rows 18 and 19: containerd's content protocol over a Unix socket, ours beside containerd with its own store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from steelyard.content import Store
from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Goal, Kind, Material, Payload, Row, Scale, Start, Work
from steelyard_bench._peers._containerd import available, daemon
from steelyard_bench._peers._shape import needs_package, on_thread, on_threads
from steelyard_bench._service import service
from steelyard_bench._text import size

__all__ = ("large", "small")

KIB = 1 << 10
GIB = 1 << 30
PLAIN, OURS = "grpcio", "RemoteStore"
CLIENTS = (PLAIN, OURS)
SERVERS = ("steelyard", "containerd")
RATE = 1.5e9
"""Bytes a second, each way."""

_BUSY = {
    "write": "for a GiB, server and client need 2.5 s of two processors: 0.8 for the hash, the rest to carry each byte through two processes; "
    "a plain client's messages have a digest in each answer, so that each waits for the hash. Next: a hash at the offset of a message, beside the next ones",
    "read": "for a GiB, server and client need 2 s of two processors, most of it for switches between them: a Unix socket holds 200 KiB",
}
_PLAIN = "most of the time is grpcio's own, in the client"

_missing_grpc = needs_package("grpc", "grpcio")


@dataclass
class Served:
    """Blobs, and servers that have them, each started when it is first asked for.

    Attributes:
        data: the bytes of each blob.
        memory: as long as the largest, and touched.
        folder: where the servers have their stores.
    """

    data: list[bytes]
    memory: bytearray
    folder: Path
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _known: dict[str, tuple[str, list[str]]] = field(default_factory=dict)

    async def having(self, server: str) -> tuple[str, list[str]]:
        """Return the address of a server that has the blobs, and their digests."""
        if server not in self._known:
            place = self.folder / server
            await run(place.mkdir)
            address = await self._stack.enter_async_context(_running(server, place))
            self._known[server] = address, await anyio.to_thread.run_sync(_fill, address, self.data)
        return self._known[server]

    async def aclose(self) -> None:
        """End the servers."""
        await self._stack.aclose()


def large(scale: Scale) -> Row[Served]:
    """Row 18: 1 GiB, each way at 1.5 GB/s, and as fast as containerd."""
    payload = Payload(size=scale(GIB))
    return _row(
        18,
        f"{size(payload.total)} over a Unix socket, by containerd's protocol",
        payload,
        {PLAIN: 1.0, OURS: 1.0},
        tuple(
            Goal(contestant=_name("steelyard", client, way), at_most=payload.total / RATE, to=None, reason=_BUSY[way])
            for way in ("write", "read")
            for client in CLIENTS
        ),
    )


def small(scale: Scale) -> Row[Served]:
    """Row 19: 2,000 × 4 KiB, each way as fast as containerd for a plain client, and 1.5 times as fast for ours."""
    payload = Payload(count=scale(2000), size=4 * KIB)
    return _row(
        19,
        f"{payload.count:,} blobs of {size(payload.size)} over a Unix socket, by containerd's protocol",
        payload,
        {PLAIN: 1.0, OURS: 1.5},
        (),
    )


def _row(number: int, title: str, payload: Payload, times: dict[str, float], more: tuple[Goal, ...]) -> Row[Served]:
    """Return a row in which each client is so many times as fast with our server as with a containerd."""
    goals = [
        Goal(
            contestant=_name("steelyard", client, way),
            at_most=1 / times[client],
            to=_name("containerd", client, way),
            reason=_PLAIN if client == PLAIN else "",
        )
        for way in ("write", "read")
        for client in CLIENTS
    ]
    contestants = [
        _contestant(server, client, way) for way in ("write", "read") for client in CLIENTS for server in SERVERS
    ]
    return Row(
        number=number,
        title=title,
        payload=payload,
        material=_material(payload),
        contestants=tuple(contestants),
        goals=(*goals, *more),
        note="each server a process of its own, the client in this one; several blobs are 8 at once; "
        "reads are of blobs in the page cache, and are not verified",
        space=4 * payload.total,
        small_files=payload.count > 1,
    )


def _name(server: str, client: str, way: str) -> str:
    return f"{server}, {way}, {client}"


def _contestant(server: str, client: str, way: str) -> Contestant[Served]:
    kind: Kind = "steelyard" if server == "steelyard" else "peer"
    note = "fsync of each blob, not of its folder" if server == "containerd" and way == "write" else ""
    return Contestant(
        name=_name(server, client, way),
        kind=kind,
        start=_START[way](server, client),
        durable=True if way == "write" else None,
        note=note,
        section=f"{way}, {client}",
        algorithm="sha256" if way == "write" else "",
        missing=_missing if server == "containerd" else _missing_grpc,
    )


def _missing() -> str | None:
    return _missing_grpc() or available()


def _writing(server: str, client: str) -> Start[Served]:
    @asynccontextmanager
    async def start(material: Served, place: Path) -> AsyncIterator[Work]:
        async with _running(server, place) as address, _CLIENTS[client](address) as connected:
            yield connected.write(material.data)

    return start


def _reading(server: str, client: str) -> Start[Served]:
    @asynccontextmanager
    async def start(material: Served, place: Path) -> AsyncIterator[Work]:
        del place
        address, digests = await material.having(server)
        async with _CLIENTS[client](address) as connected:
            yield connected.read(digests, material.memory)

    return start


_START: dict[str, Callable[[str, str], Start[Served]]] = {"write": _writing, "read": _reading}


class _Plain:
    """The plain client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def write(self, data: Sequence[bytes]) -> Work:
        if len(data) == 1:
            return on_thread(partial(self._client.write, "blob", data[0]))
        return on_thread(partial(self._client.write_many, data))

    def read(self, digests: Sequence[str], memory: bytearray) -> Work:
        del memory
        if len(digests) == 1:
            return on_thread(partial(self._client.read, digests[0]))
        return on_thread(partial(self._client.read_many, digests))


class _Remote:
    """Our client."""

    def __init__(self, store: Store, at_once: int) -> None:
        self._store = store
        self._at_once = at_once

    def write(self, data: Sequence[bytes]) -> Work:
        return partial(self._write, data)

    def read(self, digests: Sequence[str], memory: bytearray) -> Work:
        return partial(self._read, digests, memory)

    async def _write(self, data: Sequence[bytes]) -> None:
        if len(data) == 1:
            await self._store.put(data[0])
            return
        async for _ in self._store.put_many(data, concurrency=self._at_once):
            pass

    async def _read(self, digests: Sequence[str], memory: bytearray) -> None:
        waiting = iter(digests)

        async def some() -> None:
            for digest in waiting:
                await self._store.get(digest)

        if len(digests) > 1:
            async with anyio.create_task_group() as group:
                for _ in range(self._at_once):
                    group.start_soon(some)
            return
        async with self._store.reader_at(digests[0]) as reader:
            await reader.readinto_at(0, memory)


@asynccontextmanager
async def _plain(address: str) -> AsyncIterator[_Plain]:
    from steelyard_bench._wire import client  # noqa: PLC0415 - it needs an extra

    async with on_threads(client(address)) as connected:
        yield _Plain(connected)


@asynccontextmanager
async def _remote(address: str) -> AsyncIterator[_Remote]:
    from steelyard.containerd.remote import RemoteStore  # noqa: PLC0415 - likewise
    from steelyard_bench._wire import AT_ONCE, NAMESPACE  # noqa: PLC0415 - it needs an extra

    async with RemoteStore(address, namespace=NAMESPACE) as store:
        async for _ in store.walk("digest==none"):  # connects
            pass
        yield _Remote(store, AT_ONCE)


_CLIENTS: dict[str, Callable[[str], Any]] = {PLAIN: _plain, OURS: _remote}


def _fill(address: str, data: list[bytes]) -> list[str]:
    from steelyard_bench._wire import client  # noqa: PLC0415 - it needs an extra

    with client(address) as connected:
        return connected.write_many(data)


@asynccontextmanager
async def _running(server: str, place: Path) -> AsyncIterator[str]:
    async with on_threads(service(place) if server == "steelyard" else daemon(place)) as address:
        yield address


def _material(payload: Payload) -> Material[Served]:
    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Served]:
        data = [await run(os.urandom, payload.size) for _ in range(payload.count)]
        served = Served(data, bytearray(os.urandom(1)) * payload.size, folder)
        try:
            yield served
        finally:
            await served.aclose()

    return material
