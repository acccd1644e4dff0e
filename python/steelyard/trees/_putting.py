"""The work of `put_tree`: parts of a walk are stored side by side, and their entries put into documents in order."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import NamedTuple

import anyio
import msgspec
from anyio.lowlevel import checkpoint

from steelyard._runtime.calls import run
from steelyard._runtime.chunks import slices
from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Algorithm, Digest
from steelyard.images.leases import LeaseGuard
from steelyard.model import Descriptor, OnProgress, Progress
from steelyard.trees._builder import TreeBuilder
from steelyard.trees._entry import Entry
from steelyard.trees._stat_cache import Row, StatCache, identity, may_be_kept
from steelyard.trees._walk import Walk, WalkEntry, check_utf8

__all__ = ("Keep", "Putting")

_PARTS_AT_ONCE = 2
"""Parts of the walk in work: while the last batches of one are stored, those of the next begin."""

_INLINE_ENTRIES = 100
"""Entries that are put into documents without letting others run: about a millisecond."""

_MOST_ERRORS = 100


class Keep(NamedTuple):
    """The facts about files that a tree keeps, beside their bytes and the executable bit."""

    times: bool
    owners: bool


class _File(msgspec.Struct):
    """A file on its way into the store.

    Attributes:
        source: where it is.
        status: its status when it was found.
        row: its row in the cache, if it has not changed.
        known: the digest in that row.
        digest: its digest, when it is stored.
        size: its size, when it is stored.
        is_settled: whether its status was the same after it was read.
    """

    source: str
    status: os.stat_result
    row: Row | None = None
    known: Digest | None = None
    digest: Digest | None = None
    size: int = 0
    is_settled: bool = True


class _Part(NamedTuple):
    """A part of the walk.

    Attributes:
        entries: its entries, each with its path in the tree, and with the target of a link.
        files: the files among them, by their path in the tree.
        found_ns: when they were found.
        before: set when the entries of the part before it are in the documents.
        after: set when its own entries are.
    """

    entries: list[tuple[WalkEntry, str, str | None]]
    files: dict[str, _File]
    found_ns: int
    before: anyio.Event
    after: anyio.Event


class Putting:
    """One `put_tree`.

    Attributes:
        counts: how many files, links and bytes the tree has, and how many files were read and are new.
        skipped: what was left out, with the reason.
        changed: files that changed while they were read.
    """

    def __init__(
        self,
        guard: LeaseGuard,
        top: str,
        algorithm: Algorithm,
        cache: StatCache | None,
        *,
        keep: Keep,
        on_progress: OnProgress | None,
    ) -> None:
        self.counts = dict.fromkeys(("files", "links", "bytes", "read", "new"), 0)
        self.skipped: list[tuple[str, str]] = []
        self.changed: list[str] = []
        self._guard, self._algorithm, self._cache, self._keep = guard, algorithm, cache, keep
        self._on_progress = on_progress
        self._prefix = len(os.path.join(top, ""))  # noqa: PTH118  # a path as the caller named it
        self._builder = TreeBuilder(guard)
        self._errors: list[Exception] = []
        self._failed = 0

    async def run(self, entries: Walk) -> Descriptor:
        """Store all files of the walk, then the documents, and return the tree."""
        await map_concurrently(self._parts(entries), self._store, concurrency=_PARTS_AT_ONCE)
        if self._errors:
            raise ExceptionGroup(f"{self._failed} entries of the tree could not be stored", self._errors)
        return await self._builder.finish()

    async def _parts(self, entries: Walk) -> AsyncGenerator[_Part, None]:
        before = anyio.Event()
        before.set()
        while True:
            after = anyio.Event()
            part = await run(self._take, entries, before, after)
            if not part.entries:
                return
            yield part
            before = after

    def _take(self, entries: Walk, before: anyio.Event, after: anyio.Event) -> _Part:
        """Take the next part of the walk, on a thread."""
        part = _Part([], {}, time.time_ns(), before, after)
        for entry in entries.take():
            path, target = entry.path[self._prefix :], None
            if entry.kind in {"file", "link", "directory"}:
                check_utf8(path, entry.path)
            if entry.kind == "file" and entry.status is not None:
                file = part.files[path] = _File(entry.path, entry.status)
                if self._cache is not None and (row := self._cache.find(path, entry.status)) is not None:
                    file.row, file.known = row, Digest.parse(row.digest)
            elif entry.kind == "link":
                try:
                    target = os.readlink(entry.path)  # noqa: PTH115  # a path as the caller named it
                except OSError as error:
                    entry = WalkEntry(path=entry.path, kind="error", error=error)  # noqa: PLW2901  # it is gone
                else:
                    check_utf8(target, entry.path)
            part.entries.append((entry, path, target))
        return part

    async def _store(self, part: _Part) -> None:
        await self._find(part)
        await self._read({path: file for path, file in part.files.items() if file.digest is None})
        await part.before.wait()
        for some in slices(part.entries, _INLINE_ENTRIES):
            await checkpoint()
            for entry, path, target in some:
                await self._add(entry, path, target, part)
        if self._cache is not None:
            await run(self._cache.add, _rows(part))
        part.after.set()

    async def _find(self, part: _Part) -> None:
        """Protect the blobs of files that have not changed, and use those that are stored."""
        sizes = {file.known: file.status.st_size for file in part.files.values() if file.known is not None}
        if not sizes:
            return
        stored = await self._guard.find_stored(sizes)
        for path, file in part.files.items():
            if file.known in stored:
                file.digest, file.size = file.known, file.status.st_size
                self._report(path, file.size, file.size)

    async def _read(self, files: dict[str, _File]) -> None:
        """Store files, and look whether they changed meanwhile."""
        if not files:
            return
        paths = list(files)
        sources = [file.source for file in files.values()]
        many = self._guard.store.put_many(sources, algorithm=self._algorithm, errors="yield")
        async with aclosing(many) as results:
            async for one in results:
                path = paths[one.index]
                if one.error is not None:
                    self._fail(one.error, path)
                    continue
                file, result = files[path], one.result
                file.digest, file.size = result.digest, result.size
                self.counts["read"] += 1
                self.counts["new"] += result.new
                self._report(path, result.size, file.status.st_size)
        self.changed += await run(_look_again, files)

    async def _add(self, entry: WalkEntry, path: str, target: str | None, part: _Part) -> None:
        """Put an entry into the documents."""
        if entry.kind == "skipped":
            self.skipped.append((path, entry.reason))
        elif entry.kind == "error" and entry.error is not None:
            self._fail(entry.error, path or entry.path)
        elif entry.kind == "link":
            self.counts["links"] += 1
            await self._builder.add(Entry(path=path, kind="link", target=target))
        elif entry.kind == "directory":
            await self._builder.add(Entry(path=path, kind="directory"))
        elif (file := part.files[path]).digest is not None:
            self.counts["files"] += 1
            self.counts["bytes"] += file.size
            await self._builder.add(self._entry(path, file))

    def _entry(self, path: str, file: _File) -> Entry:
        status = file.status
        return Entry(
            path=path,
            digest=file.digest,
            size=file.size,
            executable=bool(status.st_mode & 0o100),
            mtime_ns=status.st_mtime_ns if self._keep.times else None,
            owner=(status.st_uid, status.st_gid) if self._keep.owners else None,
        )

    def _report(self, path: str, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(phase="write", name=path, done=done, total=total))

    def _fail(self, error: Exception, path: str) -> None:
        self._failed += 1
        if len(self._errors) < _MOST_ERRORS:
            error.add_note(f"file: {path}")
            self._errors.append(error)


def _rows(part: _Part) -> list[Row]:
    """Return the rows of the cache for files that did not change while they were read, nor shortly before."""
    rows = []
    for path, file in part.files.items():
        if file.row is not None and file.digest is file.known:
            rows.append(file.row)
        elif file.digest is not None and file.is_settled and may_be_kept(file.status, part.found_ns):
            rows.append(Row.of(path, file.status, file.digest))
    return rows


def _look_again(files: dict[str, _File]) -> list[str]:
    """Return the files whose status is no longer the one they had when they were found, on a thread."""
    changed = []
    for path, file in files.items():
        status = None
        with suppress(OSError):
            status = os.lstat(file.source)
        file.is_settled = status is not None and identity(status) == identity(file.status)
        if not file.is_settled and file.digest is not None:
            changed.append(path)
    return changed
