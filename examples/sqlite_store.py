"""A store of your own with readers and writers of its own: many small blobs in one SQLite file.

Each call runs on a thread and is one transaction, so it happens completely or not at all. The contract suite tests the store:

    pytest examples/sqlite_store.py
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import anyio
import msgspec
import pytest
from anyio import ClosedResourceError
from anyio.lowlevel import checkpoint

from steelyard import Algorithm, Digest, ReaderAt, Writer, base, digest_of, errors
from steelyard.content import opening
from steelyard.filters import info_fields, status_fields
from steelyard.memory import MemoryImageNames
from steelyard.model import Buffer, Descriptor, Info, Labels, Status
from steelyard.names import ImageNames
from steelyard.options import CommitOptions, IngestOptions
from steelyard.testing import StoreContract

ResultT = TypeVar("ResultT")

Database: TypeAlias = sqlite3.Connection

TABLES = """
CREATE TABLE IF NOT EXISTS blobs (digest TEXT PRIMARY KEY, size INTEGER, created TEXT, updated TEXT, labels TEXT, data BLOB);
CREATE TABLE IF NOT EXISTS ingests
    (ref TEXT PRIMARY KEY, total INTEGER, expected TEXT, started TEXT, updated TEXT, algorithm TEXT, data BLOB);
"""
BLOB = "SELECT digest, size, created, updated, labels FROM blobs WHERE digest = ?"
PAGE = "SELECT digest, size, created, updated, labels FROM blobs WHERE digest > ? ORDER BY digest LIMIT 256"
STATUSES = "SELECT ref, length(data), total, expected, started, updated FROM ingests"
INGEST = "SELECT ref, length(data), total, expected, started, updated, algorithm, data FROM ingests WHERE ref = ?"


class SqliteStore(base.BaseStore):
    """Blobs and ingests are rows. Image names are kept in memory only. One process uses the file at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names = MemoryImageNames()
        self._writers: dict[str, SqliteWriter] = {}
        self._lock = anyio.Lock()
        self._database: Database | None = None

    async def aopen(self) -> Self:
        """Open the file and create its tables; ``async with`` calls this."""
        self._database = sqlite3.connect(self._path, check_same_thread=False)
        await self.run(lambda database: database.executescript(TABLES))
        return self

    async def aclose(self) -> None:
        """Close the writers, which keeps their ingests, and the file."""
        for writer in list(self._writers.values()):
            await writer.aclose()
        database, self._database = self._database, None
        if database is not None:
            database.close()

    async def run(self, call: Callable[[Database], ResultT]) -> ResultT:
        """Run a call on a thread, in one transaction. A cancellation takes effect before it or after it."""
        database = self._database
        if database is None:
            raise errors.FailedPrecondition("the store is closed")

        def transaction() -> ResultT:
            with database:
                return call(database)

        async with self._lock:
            return await anyio.to_thread.run_sync(transaction)

    @property
    def images(self) -> ImageNames:
        """Image names in memory."""
        return self._names

    # Provider and Manager

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        """Read the blob into memory; an open reader outlives the row."""
        given = Descriptor.of(blob)
        query = "SELECT data FROM blobs WHERE digest = ?"
        row = await self.run(lambda database: database.execute(query, (str(given.digest),)).fetchone())
        if row is None:
            raise errors.NotFound(given.digest)
        data: bytes = row[0]
        given.check_size(len(data))
        return SqliteReader(given.digest, data)

    async def info(self, digest: Digest | str) -> Info:
        """Return the info of a blob."""
        name = Digest.parse(digest)
        return await self.run(lambda database: find_info(database, name))

    async def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set labels. The old ones are read in the same transaction, so no other change is lost."""

        def change(database: Database) -> Info:
            old = find_info(database, info.digest)
            labels = base.changed_labels(old.labels, info.labels, *fieldpaths)
            new = msgspec.structs.replace(old, labels=labels, updated_at=datetime.now(UTC))
            row = (json.dumps(dict(labels)), new.updated_at.isoformat(), str(info.digest))
            database.execute("UPDATE blobs SET labels = ?, updated = ? WHERE digest = ?", row)
            return new

        return await self.run(change)

    async def walk(self, *filters: str) -> AsyncGenerator[Info, None]:
        """Iterate over blobs in pages, ordered by digest, so that memory does not grow with the store."""
        chosen = await base.compiled(filters)
        last = ""
        while rows := await self.run(lambda database: database.execute(PAGE, (last,)).fetchall()):  # noqa: B023
            last = rows[-1][0]
            for info in await base.choose(chosen, [to_info(row) for row in rows], info_fields):
                yield info

    async def delete(self, digest: Digest | str) -> None:
        """Delete a blob."""
        name = Digest.parse(digest)
        query = "DELETE FROM blobs WHERE digest = ?"
        if not await self.run(lambda database: database.execute(query, (str(name),)).rowcount):
            raise errors.NotFound(name)

    # Ingester and IngestManager

    @opening
    async def writer(
        self,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Writer:
        """Start or resume an ingest. A ref is held from the first step on, so two openings cannot both succeed."""
        options = IngestOptions.parse(ref, size=size, expected=expected, algorithm=algorithm)
        if ref in self._writers:
            await checkpoint()
        if ref in self._writers:
            raise errors.Unavailable(ref, holder="this process", since=self._writers[ref].since, local=True)
        writer = self._writers[ref] = SqliteWriter(self, options)
        try:
            await writer.start()
        except BaseException:
            self.release(writer)
            raise
        return writer

    def release(self, writer: SqliteWriter) -> None:
        """Free the ref of a writer, and wake the task that waits for it in `open_writer`."""
        if self._writers.get(writer.ref) is writer:
            del self._writers[writer.ref]
            self._ref_released(writer.ref)

    async def status(self, ref: str) -> Status:
        """Return the status of an ingest: that of its writer, if it has one."""
        base.check_ref(ref)
        for status in await self.list_statuses():
            if status.ref == ref:
                return status
        raise errors.NotFound(ref, kind="ingest")

    async def list_statuses(self, *filters: str) -> list[Status]:
        """Return the statuses of ingests, ordered by ref."""
        chosen = await base.compiled(filters)
        rows = await self.run(lambda database: database.execute(STATUSES).fetchall())
        statuses = {row[0]: to_status(row) for row in rows}
        statuses |= {ref: writer.now() for ref, writer in self._writers.items() if ref in statuses}
        return await base.choose(chosen, [statuses[ref] for ref in sorted(statuses)], status_fields)

    async def abort(self, ref: str) -> None:
        """Discard an ingest, and fence its writer."""
        base.check_ref(ref)
        query = "DELETE FROM ingests WHERE ref = ?"
        if not await self.run(lambda database: database.execute(query, (ref,)).rowcount):
            raise errors.NotFound(ref, kind="ingest")
        if ref in self._writers:
            self._writers[ref].end(errors.Aborted)


class SqliteReader(base.BaseReader):
    """A blob in memory. `BaseReader` implements `readinto_at` and the verified `stream`."""

    def __init__(self, digest: Digest, data: bytes) -> None:
        self._digest = digest
        self._data: bytes | None = data
        self._size = len(data)

    @property
    def digest(self) -> Digest:
        """The blob's name."""
        return self._digest

    @property
    def size(self) -> int:
        """The blob's length in bytes."""
        return self._size

    async def read_at(self, offset: int, size: int) -> bytes:
        """Read a range; `check_range` refuses a wrong one."""
        await checkpoint()
        if self._data is None:
            raise ClosedResourceError
        return self._data[offset : offset + base.check_range(self._digest, self._size, offset, size)]

    async def aclose(self) -> None:
        """Forget the bytes."""
        self._data = None
        await checkpoint()


class SqliteWriter(Writer):
    """An ingest in memory while it is open; `sync` and `aclose` write it to its row."""

    def __init__(self, store: SqliteStore, options: IngestOptions) -> None:
        self._store = store
        self._options = options
        self._data = bytearray()
        self._algorithm = Algorithm.SHA256
        self._ended: type[errors.WriterClosed | errors.Aborted] | None = None
        self.since = now = datetime.now(UTC)
        self._status = Status(ref=options.ref, offset=0, total=None, expected=None, started_at=now, updated_at=now)

    async def start(self) -> None:
        """Read the row of the ingest, or make one."""
        options = self._options

        def load(database: Database) -> bool:
            if options.expected is not None:
                stored = database.execute(
                    "SELECT size FROM blobs WHERE digest = ?", (str(options.expected),)
                ).fetchone()
                if stored is not None and options.size in {None, stored[0]}:
                    database.execute("DELETE FROM ingests WHERE ref = ?", (options.ref,))
                    return False
            row = database.execute(INGEST, (options.ref,)).fetchone()
            if row is not None:
                self._status, self._algorithm, self._data = to_status(row), Algorithm(row[-2]), bytearray(row[-1])
            self._algorithm = options.algorithm or self._algorithm
            announced = {"total": options.size, "expected": options.expected}
            changed = {name: value for name, value in announced.items() if value is not None}
            self._status = msgspec.structs.replace(self._status, **changed)
            self._save(database)
            return True

        if not await self._store.run(load) and options.expected is not None:
            raise errors.AlreadyExists(options.expected)

    def _save(self, database: Database) -> None:
        status = self._status
        expected = None if status.expected is None else str(status.expected)
        times = status.started_at.isoformat(), status.updated_at.isoformat()
        row = (self.ref, status.total, expected, *times, self._algorithm.value, bytes(self._data))
        database.execute("INSERT OR REPLACE INTO ingests VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def end(self, how: type[errors.WriterClosed | errors.Aborted]) -> None:
        """Refuse all later calls, and free the ref."""
        self._ended = self._ended or how
        self._store.release(self)

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended(self.ref)

    def now(self) -> Status:
        """Return the status without a wait."""
        return msgspec.structs.replace(self._status, offset=self.offset)

    @property
    def ref(self) -> str:
        """The caller's name of the ingest."""
        return self._options.ref

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return len(self._data)

    async def write(self, data: Buffer) -> None:
        """Append the bytes. `view` refuses other buffers; the bytes are copied."""
        self._check()
        await checkpoint()
        self._check()
        self._data += base.view(data)
        self._status = msgspec.structs.replace(self._status, updated_at=datetime.now(UTC))

    async def digest(self) -> Digest:
        """Return the digest of the bytes so far."""
        self._check()
        return await digest_of(bytes(self._data), algorithm=self._algorithm)

    async def status(self) -> Status:
        """Return the status of the ingest."""
        self._check()
        await checkpoint()
        return self.now()

    async def truncate(self, size: int) -> None:
        """Truncate the ingest."""
        base.check_size(size)
        self._check()
        await checkpoint()
        if size > self.offset:
            raise errors.OutOfRange(self.ref, offset=size, size=self.offset)
        del self._data[size:]

    async def sync(self) -> None:
        """Write the row."""
        self._check()
        await self._store.run(self._save)

    async def _commit(self, options: CommitOptions) -> Info:
        """Check the bytes and publish them. `commit` has checked the arguments; `verify` adds nothing here."""
        try:
            self._check()
            self._algorithm = self._algorithm if options.expected is None else options.expected.algorithm
            if options.size is not None and options.size != self.offset:
                raise errors.UnexpectedSize(self.ref, expected=options.size, actual=self.offset)
            found = await self.digest()
            if options.expected is not None and options.expected != found:
                raise errors.UnexpectedDigest(self.ref, expected=options.expected, actual=found)
            info = await self._store.run(lambda database: self._publish(database, found, options.labels))
            self.end(errors.WriterClosed)
        finally:
            await self.aclose()
        if info is None:
            raise errors.AlreadyExists(found)
        return info

    def _publish(self, database: Database, digest: Digest, labels: Labels) -> Info | None:
        """Make the ingest a blob, in one transaction. The result is None if the blob is stored; its bytes are repaired."""
        database.execute("DELETE FROM ingests WHERE ref = ?", (self.ref,))
        data = bytes(self._data)
        query = "UPDATE blobs SET data = ?, size = ? WHERE digest = ?"
        if database.execute(query, (data, len(data), str(digest))).rowcount:
            return None
        now = datetime.now(UTC)
        row = (str(digest), len(data), now.isoformat(), now.isoformat(), json.dumps(dict(labels)), data)
        database.execute("INSERT INTO blobs VALUES (?, ?, ?, ?, ?, ?)", row)
        return Info(digest=digest, size=len(data), created_at=now, updated_at=now, labels=labels)

    async def aclose(self) -> None:
        """Keep the bytes in the row, and free the ref. A cancellation must not lose them, so it waits."""
        if self._ended is None:
            with anyio.CancelScope(shield=True):
                await self._store.run(self._save)
            self.end(errors.WriterClosed)
        await checkpoint()


def to_info(row: Sequence[Any]) -> Info:
    """Return the info in a row of `BLOB` or `PAGE`."""
    digest, size, created, updated, labels = row
    times = {"created_at": datetime.fromisoformat(created), "updated_at": datetime.fromisoformat(updated)}
    return Info(digest=Digest.parse(digest), size=size, labels=Labels(json.loads(labels)), **times)


def find_info(database: Database, digest: Digest) -> Info:
    """Return the info of a blob."""
    row = database.execute(BLOB, (str(digest),)).fetchone()
    if row is None:
        raise errors.NotFound(digest)
    return to_info(row)


def to_status(row: Sequence[Any]) -> Status:
    """Return the status in a row of `STATUSES` or `INGEST`."""
    ref, offset, total, expected, started, updated, *_ = row
    times = {"started_at": datetime.fromisoformat(started), "updated_at": datetime.fromisoformat(updated)}
    wanted = None if expected is None else Digest.parse(expected)
    return Status(ref=ref, offset=offset, total=total, expected=wanted, **times)


class TestSqliteStore(StoreContract):
    """Every promise of a store, on asyncio and trio."""

    large_size = 4 << 20

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        """Give each test a new store."""
        async with SqliteStore(tmp_path / "store.db") as store:
            yield store
