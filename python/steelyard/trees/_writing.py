"""The work of `checkout`: the places of a batch of entries are inspected, then the batch is written."""

from __future__ import annotations

import os
from contextlib import ExitStack
from itertools import chain, groupby
from typing import NamedTuple

from steelyard._runtime.calls import run, run_always
from steelyard._runtime.chunks import slices
from steelyard._runtime.concurrent import map_concurrently
from steelyard.content import Store
from steelyard.content._failures import Failures
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, NotFound, StorageError
from steelyard.hashing import digest_of
from steelyard.images.layout._files import NewFile
from steelyard.local import LocalStore
from steelyard.local.blocking import BlockingStore
from steelyard.model import Descriptor, OnProgress, Progress
from steelyard.trees._copying import fill, is_same, is_there, link_file, may_be_same
from steelyard.trees._destination import Destination
from steelyard.trees._entry import WHOLE_BYTES, Entry

__all__ = ("AT_ONCE", "Batch", "CheckingOut")

AT_ONCE = 2
"""Batches that are written at a time."""

_READ_AT_ONCE = 16
"""Small files that are read at a time."""

_DIRECTORIES = 32
"""The most directories whose files the store writes in one call. The call starts a thread, and each directory is open during the call."""


class _Outcome:
    """The result of work on a thread.

    Attributes:
        written: the number of files and links that were written.
        errors: the errors, each with its entry.
    """

    def __init__(self) -> None:
        self.written = 0
        self.errors: list[tuple[Exception, Entry]] = []


class Batch(NamedTuple):
    """Entries whose places were inspected.

    Attributes:
        outcome: the links that the inspection wrote, and its errors.
        entries: all entries.
        small: the small files to write.
        single: the other files to write, each with a flag: the file may already exist, because its size and mode are right.
    """

    outcome: _Outcome
    entries: list[Entry]
    small: list[Entry]
    single: list[tuple[Entry, bool]]


class CheckingOut:
    """One `checkout`. `inspect` is called for one batch after the other, `write` for up to `AT_ONCE` batches at a time.

    Attributes:
        counts: the numbers of the result: files and bytes of the tree, written files and links, and removed objects.
    """

    def __init__(
        self, store: Store, path: str, *, hard_links: bool, owners: bool, on_progress: OnProgress | None
    ) -> None:
        self.counts = dict.fromkeys(("files", "bytes", "written", "removed"), 0)
        self._store, self._path = store, path
        self._hard_links = hard_links and isinstance(store, LocalStore)
        self._owners = owners
        self._on_progress = on_progress
        self._places: list[Destination] = []
        self._inspecting: Destination | None = None
        self._failures = Failures()
        self._deletes = False

    def open(self, tree: str, delete: bool) -> None:  # noqa: FBT001  # called on a thread
        """Open the directory, on a thread: once for inspection, and once for each batch that is written at a time."""
        self._deletes = delete
        self._inspecting = Destination(self._path, tree, delete=delete, check_names=True)
        for _ in range(AT_ONCE):
            self._places.append(Destination(self._path, tree))

    def close(self) -> None:
        """Close the directory, on a thread."""
        for place in self._places:
            place.close()
        if self._inspecting is not None:
            self._inspecting.close()

    def finish(self) -> None:
        """Remove the remaining objects that the tree lacks, if asked to delete, on a thread."""
        if self._inspecting is not None:
            self._inspecting.finish()
            self.counts["removed"] = self._inspecting.removed
            for error, entry in self._inspecting.failed:
                self._fail(error, entry)

    def check(self) -> None:
        """Raise the errors as a group, if there are any."""
        if self._failures.count:
            raise self._failures.group(
                f"{self._failures.count} entries of the tree could not be written{' or removed' if self._deletes else ''}"
            )

    def inspect(self, entries: list[Entry]) -> Batch:
        """Create directories and links, and return the files to write, on a thread."""
        batch = Batch(_Outcome(), entries, [], [])
        for entry in entries:
            try:
                if self._inspecting is not None:
                    self._inspect_place(self._inspecting, entry, batch)
            except OSError as error:
                batch.outcome.errors.append((error, entry))
        if self._inspecting is not None:
            batch.outcome.errors += self._inspecting.failed
            self._inspecting.failed = []
        return batch

    def _inspect_place(self, destination: Destination, entry: Entry, batch: Batch) -> None:
        if entry.kind == "directory":
            destination.make_directory(entry)
            return
        if entry.kind == "link":
            batch.outcome.written += destination.make_link(entry)
            return
        directory, name = destination.enter(entry)
        found = destination.status(entry, directory, name)
        may_exist = found is not None and may_be_same(found, entry)
        if _size(entry) > WHOLE_BYTES:
            batch.single.append((entry, may_exist))
        elif may_exist and is_same(directory, name, _digest(entry)):
            return
        elif self._hard_links and not entry.executable:
            batch.single.append((entry, False))
        else:
            batch.small.append(entry)

    async def write(self, batch: Batch) -> None:
        """Write the files of a batch that do not exist yet."""
        self._add(batch.outcome)
        place = self._places.pop()
        try:
            left = batch.small
            if isinstance(self._store, LocalStore):
                outcome, left = await run(self._copy_small, self._store.direct(), place, left)
                self._add(outcome)
            contents = await map_concurrently(left, self._get, concurrency=_READ_AT_ONCE)
            self._add(await run(self._write_small, place, list(zip(left, contents, strict=True))))
            for entry, may_exist in batch.single:
                await self._write_one(place, entry, may_exist=may_exist)
        finally:
            self._places.append(place)
        for entry in batch.entries:
            if entry.kind == "file":
                self.counts["files"] += 1
                self.counts["bytes"] += _size(entry)
                self._report(entry)

    def _copy_small(self, store: BlockingStore, place: Destination, files: list[Entry]) -> tuple[_Outcome, list[Entry]]:
        """Let the store write small files, many in one call, on a thread. Return the outcome, and the files that it could not write this way."""
        outcome, left = _Outcome(), [entry for entry in files if self._owners and entry.owner]
        others = [entry for entry in files if not (self._owners and entry.owner)]
        groups = [list(group) for _, group in groupby(others, lambda entry: entry.path.rpartition("/")[0])]
        for some in slices(groups, _DIRECTORIES):
            with ExitStack() as stack:
                folders = []
                for entries in some:
                    try:
                        directory = os.dup(place.enter(entries[0])[0])
                    except OSError as error:
                        outcome.errors += [(error, entry) for entry in entries]
                        continue
                    stack.callback(os.close, directory)
                    folders.append((directory, entries))
                copies = [(directory, [_copy_of(entry) for entry in entries]) for directory, entries in folders]
                written = store.write_copies(copies)
            for entry, result in zip(chain.from_iterable(entries for _, entries in folders), written, strict=True):
                if isinstance(result, Exception):
                    outcome.errors.append((result, entry))
                elif result:
                    outcome.written += 1
                else:
                    left.append(entry)
        return outcome, left

    async def _get(self, entry: Entry) -> bytes | None:
        """Return the bytes of a small file, or None after an error."""
        try:
            return await self._store.get(Descriptor(digest=_digest(entry), size=entry.size))
        except (NotFound, DataCorrupt, StorageError) as error:
            self._fail(error, entry)
            return None

    def _write_small(self, place: Destination, files: list[tuple[Entry, bytes | None]]) -> _Outcome:
        """Write small files, on a thread."""
        outcome = _Outcome()
        for entry, data in files:
            if data is None:
                continue
            try:
                file, name = self._create(place, entry)
                try:
                    file.write(data)
                    self._publish(file, name, entry)
                finally:
                    file.close()
            except OSError as error:
                outcome.errors.append((error, entry))
            else:
                outcome.written += 1
        return outcome

    def _create(self, place: Destination, entry: Entry) -> tuple[NewFile, str]:
        directory, name = place.enter(entry)
        return NewFile(directory, self._shown(entry), mode=_mode(entry)), name

    def _publish(self, file: NewFile, name: str, entry: Entry) -> None:
        if self._owners and entry.owner is not None:
            os.chown(file.number, *entry.owner)
        if entry.mtime_ns is not None:
            os.utime(file.number, ns=(entry.mtime_ns, entry.mtime_ns))
        file.publish_unsynced(name)

    async def _write_one(self, place: Destination, entry: Entry, *, may_exist: bool) -> None:
        """Write a single file, by a copy in pieces or by a hard link."""
        try:
            if may_exist and await is_there(place, entry, _digest(entry)):
                return
            if self._hard_links and not entry.executable and await self._link(place, entry):
                return
            async with self._store.reader_at(Descriptor(digest=_digest(entry), size=entry.size)) as reader:
                file, name = await run(self._create, place, entry)
                try:
                    await fill(file, reader)
                    await run(self._publish, file, name, entry)
                    self.counts["written"] += 1
                finally:
                    await run_always(file.close)
        except (NotFound, DataCorrupt, OSError) as error:
            self._fail(error, entry)

    async def _link(self, place: Destination, entry: Entry) -> bool:
        """Create a hard link to the store's own file; return whether that is possible."""
        store = self._store
        if not isinstance(store, LocalStore):
            return False
        path = os.fspath(await store.path_of(_digest(entry)))
        found = await digest_of(path, algorithm=_digest(entry).algorithm)
        if found != entry.digest:
            raise DataCorrupt(_digest(entry), expected=_digest(entry), actual=found)
        is_linked = await run(link_file, place, path, entry)
        self.counts["written"] += is_linked
        return is_linked

    def _report(self, entry: Entry) -> None:
        if self._on_progress is not None:
            size = _size(entry)
            self._on_progress(Progress(phase="write", name=entry.path, done=size, total=size))

    def _shown(self, entry: Entry) -> str:
        return os.path.join(self._path, entry.path)  # noqa: PTH118  # a path as the caller named it

    def _add(self, outcome: _Outcome) -> None:
        self.counts["written"] += outcome.written
        for error, entry in outcome.errors:
            self._fail(error, entry)

    def _fail(self, error: Exception, entry: Entry) -> None:
        is_whole = isinstance(error, StorageError) and error.filename != entry.path.rpartition("/")[2]
        if isinstance(error, OSError) and not is_whole:
            error = StorageError.of(error, operation="checkout", path=self._shown(entry))
        self._failures.add(error, f"file: {entry.path}")


def _copy_of(entry: Entry) -> tuple[Digest, int, str, int, int | None]:
    return _digest(entry), _size(entry), entry.path.rpartition("/")[2], _mode(entry), entry.mtime_ns


def _mode(entry: Entry) -> int:
    return 0o777 if entry.executable else 0o666


def _size(entry: Entry) -> int:
    return entry.size or 0


def _digest(entry: Entry) -> Digest:
    assert entry.digest is not None, "a file has a digest"  # noqa: S101
    return entry.digest
