"""The work of `put_tree`: parts of a walk are stored concurrently, and their entries are added to documents in order."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import NamedTuple

import anyio
import msgspec

from steelyard._runtime.calls import run
from steelyard._runtime.concurrent import map_concurrently
from steelyard.content._failures import Failures
from steelyard.digest import Algorithm, Digest
from steelyard.images.leases import LeaseGuard
from steelyard.model import Descriptor, OnProgress, Progress
from steelyard.trees._builder import TreeBuilder
from steelyard.trees._entry import Entry
from steelyard.trees._format import encode_layer
from steelyard.trees._stat_cache import Row, StatCache, may_be_kept
from steelyard.trees._tree import protect_tree
from steelyard.trees._walk import FoundKind, Identity, WalkEntry, check_utf8, error_of, identity_of, reason_of

__all__ = ("Keep", "Putting")

_PARTS_AT_ONCE = 2
"""Parts of the walk that are stored at a time: while the last batches of one are stored, the first batches of the next start."""


class Keep(NamedTuple):
    """The optional facts about files that a tree keeps, in addition to their bytes and the executable bit."""

    times: bool
    owners: bool


class _File(msgspec.Struct):
    """A file to store.

    Attributes:
        path: its path in the tree.
        source: its path on disk.
        identity: its identity when the walk found it.
        mode: its permission bits.
        owner: its user and group.
        row: its row in the cache, if the file has not changed.
        known: the digest in that row.
        digest: its digest, once it is stored.
        size: its size, once it is stored.
        is_settled: whether its identity was the same after it was read.
    """

    path: str
    source: str
    identity: Identity
    mode: int
    owner: tuple[int, int] | None
    row: Row | None = None
    known: Digest | None = None
    digest: Digest | None = None
    size: int = 0
    is_settled: bool = True


class _Other(NamedTuple):
    """Another entry of the walk: its paths in the tree and on disk, its kind, and the target of a link or the errno of an error."""

    path: str
    source: str
    kind: FoundKind
    detail: str | int | None


class _Part(NamedTuple):
    """A part of the walk.

    Attributes:
        entries: its entries.
        files: the files among them.
        found_ns: the time before the files were found, in nanoseconds since 1970.
        before: set when the entries of the previous part are in the documents.
        after: set when the entries of this part are in the documents.
    """

    entries: list[_File | _Other]
    files: list[_File]
    found_ns: int
    before: anyio.Event
    after: anyio.Event


class Putting:
    """One `put_tree`.

    Attributes:
        counts: the numbers of the result: files, links and bytes of the tree, files that were read, and files that are new.
        skipped: the paths that were left out, each with the reason.
        changed: the paths of files that changed while they were read.
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
        self._failures = Failures()
        self._is_protected = False

    async def run(self, entries: Iterator[list[WalkEntry]]) -> Descriptor:
        """Store all files of the walk, then the documents, and return the tree."""
        if self._cache is not None and self._cache.tree is not None:
            self._is_protected = await protect_tree(self._guard, self._cache.tree)
        await map_concurrently(self._parts(entries), self._store, concurrency=_PARTS_AT_ONCE)
        if self._failures.count:
            raise self._failures.group(f"{self._failures.count} entries of the tree could not be stored")
        return await self._builder.finish()

    async def _parts(self, entries: Iterator[list[WalkEntry]]) -> AsyncGenerator[_Part, None]:
        before = anyio.Event()
        before.set()
        while True:
            after = anyio.Event()
            part = await run(self._take, entries, before, after)
            if not part.entries:
                return
            yield part
            before = after

    def _take(self, entries: Iterator[list[WalkEntry]], before: anyio.Event, after: anyio.Event) -> _Part:
        """Take the next part of the walk, on a thread."""
        part = _Part([], [], time.time_ns(), before, after)
        for source, kind, identity, mode, owner, detail in next(entries, []):
            path = source[self._prefix :]
            if identity is None:
                if kind in {"link", "directory"}:
                    check_utf8(path, source)
                    check_utf8(str(detail), source)
                part.entries.append(_Other(path, source, kind, detail))
                continue
            check_utf8(path, source)
            file = _File(path, source, identity, mode, owner)
            if self._cache is not None and (row := self._cache.find(path, identity)) is not None:
                file.row, file.known = row, Digest.parse(row.digest)
            part.files.append(file)
            part.entries.append(file)
        return part

    async def _store(self, part: _Part) -> None:
        await self._find(part)
        await self._read([file for file in part.files if file.digest is None])
        await part.before.wait()
        for error, path in await run(self._add, part):
            self._fail(error, path)
        if self._builder.is_due:
            await self._builder.store_due()
        part.after.set()

    async def _find(self, part: _Part) -> None:
        """Look up the blobs of unchanged files, and use those that are stored. Protect them, unless the tree of the last run does."""
        sizes = {file.known: file.identity[2] for file in part.files if file.known is not None}
        if not sizes:
            return
        stored = await self._guard.find_stored(sizes, protect=not self._is_protected)
        for file in part.files:
            if file.known in stored:
                file.digest, file.size = file.known, file.identity[2]
                self._report(file, file.size)

    async def _read(self, files: list[_File]) -> None:
        """Store files, and check whether they changed meanwhile."""
        if not files:
            return
        sources = [file.source for file in files]
        many = self._guard.store.put_many(sources, algorithm=self._algorithm, errors="yield")
        async with aclosing(many) as results:
            async for one in results:
                file = files[one.index]
                if one.error is not None:
                    self._fail(one.error, file.path)
                    continue
                result = one.result
                file.digest, file.size = result.digest, result.size
                self.counts["read"] += 1
                self.counts["new"] += result.new
                self._report(file, result.size)
        self.changed += await run(_check_identities, files)

    def _add(self, part: _Part) -> list[tuple[OSError, str]]:
        """Add the entries of a part to the documents and the cache, on a thread. Return the errors, each with its path."""
        failed = []
        for entry in part.entries:
            if isinstance(entry, _File):
                if entry.digest is not None:
                    self._add_file(entry, entry.digest)
            elif entry.kind == "link":
                self.counts["links"] += 1
                self._builder.add(Entry(path=entry.path, kind="link", target=str(entry.detail)))
            elif entry.kind == "directory":
                self._builder.add(Entry(path=entry.path, kind="directory"))
            elif (reason := reason_of(entry.kind)) is not None:
                self.skipped.append((entry.path, reason))
            else:
                failed.append((error_of(entry.source, entry.detail), entry.path or entry.source))
        if self._cache is not None:
            self._cache.add(_rows(part))
        return failed

    def _add_file(self, file: _File, digest: Digest) -> None:
        self.counts["files"] += 1
        self.counts["bytes"] += file.size
        layer = encode_layer(
            file.path,
            file.row.digest if file.row is not None and digest is file.known else str(digest),
            file.size,
            is_executable=bool(file.mode & 0o100),
            mtime_ns=file.identity[3] if self._keep.times else None,
            owner=file.owner if self._keep.owners else None,
        )
        self._builder.add_file(file.path, layer)

    def _report(self, file: _File, done: int) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(phase="write", name=file.path, done=done, total=file.identity[2]))

    def _fail(self, error: Exception, path: str) -> None:
        self._failures.add(error, f"file: {path}")


def _rows(part: _Part) -> list[Row]:
    """Return the cache rows for files that changed neither while they were read nor shortly before."""
    rows = []
    for file in part.files:
        if file.row is not None and file.digest is file.known:
            rows.append(file.row)
        elif file.digest is not None and file.is_settled and may_be_kept(file.identity, part.found_ns):
            rows.append(Row(file.path, file.identity, str(file.digest)))
    return rows


def _check_identities(files: list[_File]) -> list[str]:
    """Return the paths of stored files whose identity has changed since the walk found them, on a thread."""
    changed = []
    for file in files:
        file.is_settled = identity_of(file.source) == file.identity
        if not file.is_settled and file.digest is not None:
            changed.append(file.path)
    return changed
