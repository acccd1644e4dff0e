"""A bucket in memory, in place of the requests to a server: for tests that need very many schedules, or to stop between two requests."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import anyio
import pytest

from steelyard._runtime.concurrent import map_concurrently
from steelyard.errors import ServerRefused, SteelyardError
from steelyard.hashing import Hasher
from steelyard.objects._requests import Missing, Object, Pages, Requests, Taken

__all__ = ("PIECE", "Bucket", "BucketRequests", "in_memory")

PIECE = 4 << 20
"""The bytes of a stream for which a caller waits at once."""


class Bucket:
    """Objects, as a strict server keeps them.

    Attributes:
        objects: bytes and time of each object, by its key.
        before: called before each request with the client, its name and its key; it may wait.
        passed: seconds that tasks have waited by `sleep`.
    """

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.foreign: set[str] = set()
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.before: Callable[[BucketRequests, str, str], Awaitable[object]] | None = None
        self.passed = 0.0

    def clock_ns(self) -> int:
        """Return the time; `passed` seconds more than have really passed."""
        return time.time_ns() + int(self.passed * 10**9)

    async def sleep(self, seconds: float) -> None:
        """Wait without waiting: the clock goes on."""
        self.passed += seconds
        await anyio.lowlevel.checkpoint()

    def write(self, key: str, data: bytes, *, is_ours: bool = True) -> None:
        """Write an object, or have another program write it."""
        self.objects[key] = (data, self.clock_ns() // 10**9 * 10**9)
        (self.foreign.discard if is_ours else self.foreign.add)(key)

    def object(self, key: str) -> Object:
        """Return an object; `Missing`."""
        if key not in self.objects:
            raise Missing
        data, modified_ns = self.objects[key]
        return Object(key, len(data), hashlib.sha256(data).hexdigest(), modified_ns, key not in self.foreign)


class BucketRequests(Requests):
    """Requests to a bucket in memory. Each waits before it is carried out, and is then carried out as a whole. Where it changes
    something it waits again: a caller that is cancelled there does not learn of it.

    Args:
        bucket: the bucket.
        address: the address, for messages.
    """

    def __init__(self, bucket: Bucket, address: str) -> None:
        self._bucket = bucket
        self.address = address

    async def _arrive(self, name: str, key: str) -> None:
        if self._bucket.before is not None:
            await self._bucket.before(self, name, key)
        await anyio.lowlevel.checkpoint()

    async def put(self, key: str, data: Any, *, create: bool) -> None:
        await self._arrive("put", key)
        if create and key in self._bucket.objects:
            raise Taken
        self._bucket.write(key, bytes(memoryview(data)))
        await anyio.lowlevel.checkpoint()

    async def create_all(self, objects: Sequence[tuple[str, Any]]) -> list[Exception | None]:
        async def create(each: tuple[str, Any]) -> Exception | None:
            try:
                await self.put(*each, create=True)
            except (SteelyardError, Taken) as error:
                return error
            return None

        return await map_concurrently(objects, create, concurrency=max(1, len(objects)))

    async def get(
        self, key: str, *, offset: int = 0, size: int | None = None, etag: str | None = None
    ) -> tuple[Object, bytes]:
        await self._arrive("get", key)
        return self._read(key, offset, size, etag)

    def _read(self, key: str, offset: int, size: int | None, etag: str | None) -> tuple[Object, bytes]:
        found = self._bucket.object(key)
        if etag not in {None, found.etag}:
            raise Taken
        data = self._bucket.objects[key][0]
        return found, data[offset:] if size is None else data[offset : offset + size]

    def body(self, key: str, *, offset: int, size: int, algorithm: str | None) -> Any:
        return _Body(key, offset, size, algorithm)

    async def receive(self, body: Any, etag: str | None) -> None:
        await self._arrive("receive" if body.received else "get", body.key)
        size = min(body.size - body.received, PIECE)
        _, body.ready = self._read(body.key, body.offset + body.received, size, etag)
        body.received += len(body.ready)
        if body.hasher is not None:
            body.hasher.update(body.ready)

    async def head(self, key: str) -> Object:
        await self._arrive("head", key)
        return self._bucket.object(key)

    async def delete(self, key: str) -> None:
        await self._arrive("delete", key)
        self._bucket.objects.pop(key, None)
        await anyio.lowlevel.checkpoint()

    async def sign_removals(self, keys: Iterable[str], *, seconds: int) -> list[str]:
        until = self._bucket.clock_ns() // 10**9 + seconds
        await anyio.lowlevel.checkpoint()
        return [f"{until}:{key}" for key in keys]

    async def remove_signed(self, signed: str) -> None:
        until, _, key = signed.partition(":")
        await self._arrive("remove", key)
        if self._bucket.clock_ns() // 10**9 > int(until):
            raise ServerRefused(self.address, reason="its time has passed")
        self._bucket.objects.pop(key, None)

    async def server(self) -> tuple[str | None, int | None]:
        await self._arrive("server", "")
        return "bucket in memory", self._bucket.clock_ns() // 10**9 * 10**9

    async def uploads(self, prefix: str, *, after: Any = None) -> Any:
        del after
        await self._arrive("uploads", prefix)
        raise ServerRefused(self.address, reason="it cannot list uploads")

    async def page(self, prefix: str, *, after: str | None = None) -> tuple[list[Object], bool]:
        await self._arrive("list", prefix)
        keys = sorted(key for key in self._bucket.objects if key.startswith(prefix) and (after is None or key > after))
        return [self._bucket.object(key) for key in keys[:1000]], len(keys) > 1000

    def pages(self, prefix: str, *, after: str | None = None) -> Pages:
        return Pages(self, prefix, after)

    async def copy(self, source: str, target: str) -> None:
        await self._arrive("copy", source)
        self._bucket.write(target, self._read(source, 0, None, None)[1])

    async def begin(self, key: str) -> str:
        await self._arrive("begin", key)
        upload = uuid4().hex
        self._bucket.uploads[upload] = {}
        return upload

    async def part(self, key: str, upload: str, number: int, *, path: str, offset: int, size: int) -> str:
        await self._arrive("part", key)
        if upload not in self._bucket.uploads:
            raise Missing
        self._bucket.uploads[upload][number] = _part(path, offset, size)
        return f"{number}"

    async def part_of(self, key: str, upload: str, number: int, data: bytes) -> str:
        await self._arrive("part", key)
        if upload not in self._bucket.uploads:
            raise Missing
        self._bucket.uploads[upload][number] = data
        return f"{number}"

    async def complete(self, key: str, upload: str, parts: list[str]) -> None:
        await self._arrive("complete", key)
        if upload not in self._bucket.uploads:
            raise Missing
        sent = self._bucket.uploads.pop(upload)
        self._bucket.write(key, b"".join(sent[int(part)] for part in parts))

    async def abort(self, key: str, upload: str) -> None:
        await self._arrive("abort", key)
        self._bucket.uploads.pop(upload, None)

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


class _Body:
    """A part of an object, received in pieces. The first one is a request, and a caller waits for each of the others, too."""

    def __init__(self, key: str, offset: int, size: int, algorithm: str | None) -> None:
        self.key, self.offset, self.size = key, offset, size
        self.hasher = None if algorithm is None else Hasher(algorithm)
        self.ready = b""
        self.received = 0

    def take(self, most: int) -> bytes | None:
        """Return the next bytes, none at the end; None if `receive` must be called."""
        if not self.ready and self.received < self.size:
            return None
        taken, self.ready = self.ready[:most], self.ready[most:]
        return taken

    def encoded(self) -> str | None:
        """Return the digest of all of them."""
        return None if self.hasher is None else self.hasher.digest().encoded

    def close(self) -> None:
        """Give no more."""
        self.ready = b""


def in_memory(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Have all stores be in one empty bucket, which is returned. Their pauses take no time, and their clocks agree."""
    made = Bucket()
    monkeypatch.setattr("steelyard.objects._store.ObjectClient", lambda *_, **__: None)
    monkeypatch.setattr(
        "steelyard.objects._store.Requests", lambda address, _client, _prefix: BucketRequests(made, address)
    )
    monkeypatch.setattr("steelyard.objects._probe._ROUNDS", 1)
    monkeypatch.setattr("steelyard.objects._leases.SKEW", timedelta(seconds=-1))
    monkeypatch.setattr("steelyard.objects._watch._sleep", made.sleep)
    monkeypatch.setattr("steelyard.objects._batches._wall_ns", made.clock_ns)
    monkeypatch.setattr("steelyard.objects._sweep.time", SimpleNamespace(time_ns=made.clock_ns))
    monkeypatch.setattr("steelyard.objects._batches._since_boot", lambda: made.clock_ns() / 10**9)
    return made


def _part(path: str, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123  # a path of /proc
        file.seek(offset)
        return file.read(size)
