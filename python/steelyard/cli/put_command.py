"""The work of `put`: small files in batches, large files and streams one at a time, each under its ref."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

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
from steelyard.cli.sources import RESUMABLE_BYTES, Found, Walk, automatic_ref
from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.errors import AlreadyExists, NotFound, UnexpectedDigest
from steelyard.model import PutResult

__all__ = ("PutCommand", "Request")

_PARTS_AT_ONCE = 2
"""The parts of the walk that are stored at a time: while the last batches of one part are stored, the next part starts."""

_LARGE_AT_ONCE = 2
_LARGE_AHEAD = 4


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
        request: the options.
        skipped: the number of skipped files, by the reason.
    """

    def __init__(self, context: Context, store: Store, request: Request) -> None:
        self.request = request
        self.skipped: dict[str, int] = defaultdict(int)
        self._context = context
        self._store = store
        self._ref_locks: dict[str, anyio.Lock] = defaultdict(anyio.Lock)

    async def run(self, sources: Sequence[str]) -> None:
        """Store all sources. The walk is at most one part ahead of the disk, and of the large files."""
        request, context = self.request, self._context
        named = request.ref is not None or request.expected is not None
        walk = Walk(
            sources,
            recursive=request.recursive,
            root=context.settings.store_path,
            most_small=0 if named else RESUMABLE_BYTES,
            program=context.program,
        )
        send_large, large = anyio.create_memory_object_stream[Found](_LARGE_AHEAD)
        async with anyio.create_task_group() as tasks, send_large:
            tasks.start_soon(self._store_large, large)
            await map_concurrently(self._parts(walk, send_large), self._store_small, concurrency=_PARTS_AT_ONCE)

    async def _parts(self, walk: Walk, large: MemoryObjectSendStream[Found]) -> AsyncGenerator[list[str], None]:
        """Yield the small files of each part of the walk; pass the large ones on, and report the rest."""
        while (part := await run(walk.take)) is not None:
            for found in part.left_out:
                if found.error is not None:
                    self._fail(found.error, found.path)
                else:
                    self._skip(found)
            if part.small:
                yield part.small
            for found in part.large:
                await large.send(found)

    def _skip(self, found: Found) -> None:
        self._context.counts["skipped"] += 1
        self.skipped[found.reason] += 1
        if found.reason != "symbolic link":
            self._context.note(f"skipped: {path_shown(found.path)}: {found.reason}")

    def _fail(self, error: Exception, path: str) -> None:
        if exit_of(error) is Exit.NO_SPACE:
            raise error  # all other files would fail, too
        self._context.fail(error, about=path_shown(path))

    async def _store_small(self, paths: list[str]) -> None:
        request, out = self.request, self._context.out
        many = self._store.put_many(paths, algorithm=request.algorithm, labels=request.labels or None, errors="yield")
        async with aclosing(many) as results:
            async for one in results:
                if one.error is None:
                    self._stored(one.source, one.result)
                else:
                    self._fail(one.error, one.source)
                if out.is_due:
                    await out.flush()

    async def _store_large(self, sources: MemoryObjectReceiveStream[Found]) -> None:
        async def store(found: Found) -> None:
            try:
                result = await self._store_one(found)
            except Exception as error:  # noqa: BLE001 - the others are stored, and the error is reported
                self._fail(error, found.path)
            else:
                self._stored(found.path, result)
                if self._context.out.is_due:
                    await self._context.out.flush()

        async with sources:
            await map_concurrently(sources, store, concurrency=_LARGE_AT_ONCE)

    def _stored(self, path: str, result: PutResult) -> None:
        context, digest = self._context, str(result.digest)
        context.display.finished(path, result.size)
        counts = context.counts
        counts["files"] += 1
        counts["bytes"] += result.size
        counts["new" if result.new else "existing"] += 1
        if context.out.shape == "text":
            if context.lists:
                context.out.add_line(digest if context.quiet else f"{digest}  {path_shown(path)}")
        else:
            name, octets = path_text(path), path_hex(path)
            context.out.add(PutRecord(path=name, path_hex=octets, digest=digest, size=result.size, new=result.new))
        if self.request.fail_if_exists and not result.new:
            context.fail(AlreadyExists(digest), about=path_shown(path))

    async def _store_one(self, found: Found) -> PutResult:
        ref = self._ref_of(found)
        if ref is None:
            return await self._read_and_put(found, None)
        async with self._ref_locks[ref]:  # the command line may name a file twice
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
            # The store used a ref of its own. Its ingest is gone, so the user has nothing to resume.
            raise UnexpectedDigest(expected=error.expected, actual=error.actual) from error

    def _ref_of(self, found: Found) -> str | None:
        if self.request.ref is not None:
            return self.request.ref
        if found.kind == "file" and found.identity is not None and found.identity[2] >= RESUMABLE_BYTES:
            return automatic_ref(found.path, found.identity)
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
