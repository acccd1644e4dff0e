"""The work of `put`: small files in batches, large files and streams one at a time, each under its ref."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from steelyard._runtime.calls import run
from steelyard._runtime.concurrent import map_concurrently
from steelyard.cli import stdio
from steelyard.cli.context import Context
from steelyard.cli.exits import Exit, exit_of
from steelyard.cli.names import exact_size
from steelyard.cli.printing import path_hex, path_shown, path_text, quoted, shown
from steelyard.cli.records import PutRecord
from steelyard.cli.sources import RESUMABLE_BYTES, Found, automatic_ref, find_all
from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.errors import AlreadyExists, NotFound, UnexpectedDigest
from steelyard.model import PutResult

__all__ = ("PutCommand", "Request")

_SMALL_AT_ONCE = 16
_LARGE_AT_ONCE = 2


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `put`."""

    labels: dict[str, str]
    algorithm: Algorithm | None
    expected: str | None
    ref: str | None
    recursive: bool
    verify: bool
    fail_if_exists: bool


class PutCommand:
    """One `put`.

    Attributes:
        request: what was asked for.
        skipped: the number of skipped files, by the reason.
    """

    def __init__(self, context: Context, store: Store, request: Request) -> None:
        self.request = request
        self.skipped: dict[str, int] = defaultdict(int)
        self._context = context
        self._store = store
        self._ref_locks: dict[str, anyio.Lock] = defaultdict(anyio.Lock)

    async def run(self, sources: Sequence[str]) -> None:
        """Store all sources; bounded queues keep the walk only slightly ahead of the disk."""
        send_small, small = anyio.create_memory_object_stream[str](64)
        send_large, large = anyio.create_memory_object_stream[Found](4)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._store_small, small)
            tasks.start_soon(self._store_large, large)
            async with send_small, send_large:
                await self._sort(sources, send_small, send_large)

    async def _sort(
        self, sources: Sequence[str], small: MemoryObjectSendStream[str], large: MemoryObjectSendStream[Found]
    ) -> None:
        root = await run(_identity, self._context.settings.store_path)
        for source in sources:
            if source == "-":
                await large.send(Found(path="-", kind="stream"))
                continue
            walk = find_all([source], recursive=self.request.recursive, leave_out=root, program=self._context.program)
            async with aclosing(walk) as everything:
                async for found in everything:
                    if found.error is not None:
                        self._fail(found.error, found.path)
                    elif found.kind == "skipped":
                        self._skip(found)
                    elif self._is_small(found):
                        await small.send(found.path)
                    else:
                        await large.send(found)

    def _is_small(self, found: Found) -> bool:
        named = self.request.ref is not None or self.request.expected is not None
        small = found.status is not None and found.status.st_size < RESUMABLE_BYTES
        return found.kind == "file" and small and not named

    def _skip(self, found: Found) -> None:
        self._context.counts["skipped"] += 1
        self.skipped[found.reason] += 1
        if found.reason != "symbolic link":
            self._context.note(f"skipped: {path_shown(found.path)}: {found.reason}")

    def _fail(self, error: Exception, path: str) -> None:
        if exit_of(error) is Exit.NO_SPACE:
            raise error  # all other files would fail, too
        self._context.fail(error, about=path_shown(path))

    async def _store_small(self, paths: MemoryObjectReceiveStream[str]) -> None:
        request = self.request
        many = self._store.put_many(
            paths,  # as text: a Path would lose its leading ./
            concurrency=_SMALL_AT_ONCE,
            algorithm=request.algorithm,
            labels=request.labels or None,
        )
        async with paths, aclosing(many) as results:
            async for one in results:
                if one.result is not None:
                    await self._stored(str(one.source), one.result)
                elif one.error is not None:
                    self._fail(one.error, str(one.source))

    async def _store_large(self, sources: MemoryObjectReceiveStream[Found]) -> None:
        async def store(found: Found) -> None:
            try:
                result = await self._store_one(found)
            except Exception as error:  # noqa: BLE001 - the others are stored, and the error is reported
                self._fail(error, found.path)
            else:
                await self._stored(found.path, result)

        async with sources:
            await map_concurrently(sources, store, concurrency=_LARGE_AT_ONCE)

    async def _stored(self, path: str, result: PutResult) -> None:
        context = self._context
        context.display.finished(path, result.size)
        for name, number in (("files", 1), ("bytes", result.size), ("new" if result.new else "existing", 1)):
            context.counts[name] += number
        digest = str(result.digest)
        record = PutRecord(
            path=path_text(path), path_hex=path_hex(path), digest=digest, size=result.size, new=result.new
        )
        await context.out.emit(record, digest if context.quiet else f"{digest}  {path_shown(path)}")
        if self.request.fail_if_exists and not result.new:
            context.fail(AlreadyExists(digest), about=path_shown(path))

    async def _store_one(self, found: Found) -> PutResult:
        ref = self._ref_of(found)
        if ref is None:
            return await self._read_and_put(found, None)
        async with self._ref_locks[ref]:  # the same file twice on one command line
            offset = await self._offset(ref)
            if offset:
                self._announce_resume(found, ref, offset)
            try:
                return await self._read_and_put(found, ref)
            except anyio.get_cancelled_exc_class():
                # CANCEL: the store keeps the bytes accepted so far; a message says how to resume.
                with anyio.CancelScope(shield=True):
                    self._on_interrupt(found, ref, await self._offset(ref))
                raise

    async def _read_and_put(self, found: Found, ref: str | None) -> PutResult:
        if found.kind == "file":
            return await self._put(found.path, found, ref)
        if found.path == "-":
            if ref is None:
                self._context.on_interrupt("standard input: nothing was kept; --ref NAME makes it resumable")
            async with aclosing(stdio.chunks()) as pieces:
                return await self._put(pieces, found, ref)
        descriptor = os.open(
            found.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )  # the wait for a named pipe comes later
        try:
            async with aclosing(stdio.chunks(descriptor)) as pieces:
                return await self._put(pieces, found, ref)
        finally:
            os.close(descriptor)

    async def _put(self, source: str | AsyncIterator[bytes], found: Found, ref: str | None) -> PutResult:
        request = self.request
        try:
            return await self._store.put(
                source,
                expected=request.expected,
                algorithm=request.algorithm,
                labels=request.labels or None,
                ref=ref,
                verify=request.verify,
                on_progress=self._context.display.follow(found.path),
            )
        except UnexpectedDigest as error:
            if ref is not None:
                raise
            # The store used a ref of its own, which is gone; the caller cannot use it.
            raise UnexpectedDigest(expected=error.expected, actual=error.actual) from error

    def _ref_of(self, found: Found) -> str | None:
        if self.request.ref is not None:
            return self.request.ref
        if found.kind == "file" and found.status is not None and found.status.st_size >= RESUMABLE_BYTES:
            return automatic_ref(found.path, found.status)
        return None

    async def _offset(self, ref: str) -> int:
        try:
            return (await self._store.status(ref)).offset
        except NotFound:
            return 0

    def _announce_resume(self, found: Found, ref: str, offset: int) -> None:
        size = exact_size(offset)
        if found.kind == "file":
            self._context.note(f"{path_shown(found.path)}: resumed at {size}")
        else:
            self._context.note(f"ingest {shown(ref)}: resumed at {size}; these bytes of the input are read and skipped")

    def _on_interrupt(self, found: Found, ref: str, offset: int) -> None:
        context = self._context
        if not offset:
            context.on_interrupt(f"nothing was kept; start again with: {context.same_command}")
            return
        context.on_interrupt(f"ingest {ref} keeps {exact_size(offset)}")
        input_ = "" if found.kind == "file" else "… | "
        context.on_interrupt(f"resume with: {input_}{context.same_command}")
        context.on_interrupt(f"or discard it: {context.program} abort {quoted(ref)}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
