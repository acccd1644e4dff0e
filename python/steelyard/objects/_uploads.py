"""Uploads in parts, which a later process can continue: a sealed ingest or a large file becomes an object.

The parts that the server has acknowledged are noted durably in a file beside the spool, one line each. After a crash, only parts that were on
their way are sent again. The request `ListParts` would return the same, but not every server has it.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from steelyard._runtime.calls import run, run_always
from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Digest
from steelyard.errors import DataCorrupt, InvalidArgument, ServerRefused, SteelyardError, StorageError, Unreachable
from steelyard.hashing import Hasher
from steelyard.objects._file import ChangedError, LargeFile
from steelyard.objects._layout import blob_key
from steelyard.objects._requests import Missing, Object, Requests

__all__ = ("ONE_REQUEST_BYTES", "Sealed", "StorageErrors", "Uploads", "note_name", "part_size")

ONE_REQUEST_BYTES = 8 << 20
"""The largest blob that is sent by one request."""

_MOST_PARTS = 10_000
"""The most parts of an upload."""

_LEAST_PART = 8 << 20
"""The size of a part, unless the blob would have too many parts."""

_AT_ONCE = 8
"""The most parts that are sent at the same time."""

_WRONG_PARTS = {"InvalidPart", "InvalidPartOrder"}
"""The codes for parts that differ from those at the server."""

_ATTEMPTS = 3
"""How often an upload is begun if the server loses it or refuses its parts."""


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes to upload.

    Attributes:
        digest, size: the digest and the size of the blob.
        path: a file that has these bytes for certain.
        name: the ref of the ingest, under which the upload is noted; None for an upload without a note.
        source: a large file that is sent in place of `path`, and hashed meanwhile, because it may change.
    """

    digest: Digest
    size: int
    path: str
    name: str | None
    source: LargeFile | None = None

    def read(self) -> bytes:
        """Return the bytes. For small blobs."""
        with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123  # a path of /proc
            pieces, left = [], self.size
            while left and (piece := file.read(left)):
                pieces.append(piece)
                left -= len(piece)
        return b"".join(pieces)


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a note."""

    digest: str
    size: int
    part: int
    upload: str


class Uploads:
    """The uploads of one spool.

    Args:
        requests: the server.
        directory: the directory of the notes.
    """

    def __init__(self, requests: Requests, directory: Path) -> None:
        self._requests = requests
        self._directory = directory

    async def send(self, sealed: Sealed) -> Object:
        """Send the bytes in parts, and return the object that the server has made of them.

        Raises:
            ChangedError: `source` does not have the digest.

        Cancellation:
            The parts of a sealed ingest that arrived are noted, and the next call for the same ref continues.
        """
        key = blob_key(sealed.digest)
        for _ in range(_ATTEMPTS):
            await self._send_in_parts(key, sealed)
            # A collection may have removed this object in place of an older one at the same key.
            with suppress(Missing):
                found = await self._requests.head(key)
                break
        else:
            reason = (
                f"{sealed.digest}: {_ATTEMPTS} times in a row, the object did not exist after its upload was completed"
            )
            raise ServerRefused(self._requests.address, reason=reason)
        if found.size != sealed.size:
            raise DataCorrupt(
                sealed.digest, expected=f"{sealed.size} bytes at the server", actual=f"{found.size} bytes"
            )
        return found

    async def _send_in_parts(self, key: str, sealed: Sealed) -> None:
        for _ in range(_ATTEMPTS):
            note = await run(_Note.find, self._file(sealed.name), sealed)
            if note is None:
                upload = await self._requests.begin(key)
                note = await run_always(_Note.begin, self._file(sealed.name), sealed, upload)
            try:
                if sealed.source is None:
                    await self._send_missing(key, sealed, note)
                else:
                    await self._send_file(key, sealed, sealed.source, note)
                await self._requests.complete(
                    key, note.header.upload, [note.parts[number] for number in sorted(note.parts)]
                )
            except ServerRefused as refused:
                if refused.server_code not in _WRONG_PARTS:
                    raise
                # The server's answer to a part was wrong, and the note has that answer: all parts are sent again.
                await self._requests.abort(key, note.header.upload)
                await run_always(note.remove)
                continue
            except Missing:
                # Another client has discarded the upload, or it is complete and the server's answer was lost.
                await run_always(note.remove)
                if await self._is_there(key, sealed.size):
                    return
                continue
            await run_always(note.remove)
            return
        raise Unreachable(
            self._requests.address,
            reason=f"{key}: the server lost the upload or refused its parts, {_ATTEMPTS} times in a row",
        )

    async def _send_missing(self, key: str, sealed: Sealed, note: _Note) -> None:
        part = note.header.part
        numbers = [number for number in range(-(-sealed.size // part)) if number not in note.parts]

        def size_of(number: int) -> int:
            return min(part, sealed.size - number * part)

        async def send(number: int) -> None:
            size = size_of(number)
            answer = await self._requests.part(
                key, note.header.upload, number, path=sealed.path, offset=number * part, size=size
            )
            # DURABILITY: a part is noted after the server has it. A part whose note is lost is sent again, which is harmless.
            await run_always(note.add, number, answer)

        await map_concurrently(numbers, send, concurrency=_AT_ONCE)

    async def _send_file(self, key: str, sealed: Sealed, source: LargeFile, note: _Note) -> None:
        """Send and hash all parts of a file. They are not noted, because the file may change before a later process could continue."""
        part, hasher = note.header.part, Hasher(sealed.digest.algorithm)

        async def read() -> AsyncIterator[tuple[int, bytes]]:
            for offset in range(0, sealed.size, part):
                yield offset // part, await source.read(hasher, offset, min(part, sealed.size - offset))

        async def send(each: tuple[int, bytes]) -> None:
            number, data = each
            note.parts[number] = await self._requests.part_of(key, note.header.upload, number, data)

        await map_concurrently(read(), send, concurrency=_AT_ONCE)
        if hasher.digest() != sealed.digest:
            raise ChangedError(hasher.digest())

    async def _is_there(self, key: str, size: int) -> bool:
        with suppress(Missing):
            return (await self._requests.head(key)).size == size
        return False

    async def discard(self, ref: str) -> None:
        """Discard the upload of an ingest, if there is one."""
        note = await run(_Note.load, self._file(ref))
        if note is None:
            return
        with suppress(InvalidArgument):
            await self._requests.abort(blob_key(Digest.parse(note.header.digest)), note.header.upload)
        await run_always(note.remove)

    async def forget(self, ref: str) -> None:
        """Discard the upload of an ingest as `discard` does, and ignore the errors of the server."""
        with suppress(SteelyardError):
            await self.discard(ref)

    async def noted(self) -> dict[str, str]:
        """Return the IDs of all noted uploads, each with the name of its note; see `note_name`."""
        return await run(_noted, self._directory)

    async def forget_note(self, name: str) -> None:
        """Remove the note of an upload that the server no longer has."""
        await run_always(_unlink, self._directory / name)

    def _file(self, ref: str | None) -> Path | None:
        return None if ref is None else self._directory / note_name(ref)


def note_name(ref: str) -> str:
    """Return the file name of the note of an ingest's upload."""
    return hashlib.sha256(ref.encode()).hexdigest()


class _Note:
    """The progress of one upload: in a file, or only in memory for an upload without a name."""

    def __init__(self, file: Path | None, header: _Header, parts: dict[int, str]) -> None:
        self._file = file
        self.header = header
        self.parts = parts

    @classmethod
    def load(cls, file: Path | None) -> _Note | None:
        """Return the note in a file, or None. An incomplete last line is ignored."""
        if file is None:
            return None
        with StorageErrors(file, "read the note of an upload"):
            try:
                lines = file.read_bytes().split(b"\n")[:-1]
            except FileNotFoundError:
                return None
        try:
            header = msgspec.json.decode(lines[0], type=_Header) if lines else None
            parts = dict(_part_lines(lines[1:]))
        except msgspec.MsgspecError:
            header, parts = None, {}
        return None if header is None else cls(file, header, parts)

    @classmethod
    def find(cls, file: Path | None, sealed: Sealed) -> _Note | None:
        """Return the note in a file if it belongs to these bytes."""
        note = cls.load(file)
        is_same = note is not None and (note.header.digest, note.header.size) == (str(sealed.digest), sealed.size)
        return note if is_same else None

    @classmethod
    def begin(cls, file: Path | None, sealed: Sealed, upload: str) -> _Note:
        """Note a new upload, durably."""
        header = _Header(digest=str(sealed.digest), size=sealed.size, part=part_size(sealed.size), upload=upload)
        if file is not None:
            with StorageErrors(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                temporary = file.with_suffix(".new")
                _write(temporary, os.O_CREAT | os.O_TRUNC, msgspec.json.encode(header) + b"\n")
                # DURABILITY: a power cut before the sync may lose the note. The upload is then begun again.
                temporary.rename(file)
                _sync_directory(file.parent)
        return cls(file, header, {})

    def add(self, number: int, answer: str) -> None:
        """Note a part, durably."""
        if self._file is not None:
            with StorageErrors(self._file):
                _write(self._file, os.O_APPEND, msgspec.json.encode([number, answer]) + b"\n")
        self.parts[number] = answer

    def remove(self) -> None:
        """Remove the note."""
        if self._file is not None:
            _unlink(self._file)


class StorageErrors:
    """Turns errors of the operating system into `StorageError`."""

    def __init__(self, path: Path, operation: str = "note an upload") -> None:
        self._path, self._operation = path, operation

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, SteelyardError):
            return
        if isinstance(error, ValueError):  # a path with a null byte
            raise StorageError(errno.EINVAL, operation=self._operation, path=str(self._path)) from None
        if isinstance(error, OSError):
            raise StorageError.of(error, operation=self._operation, path=str(self._path)) from None


def _noted(directory: Path) -> dict[str, str]:
    found = {}
    with (
        StorageErrors(directory, "read the notes of uploads"),
        suppress(FileNotFoundError),
        os.scandir(directory) as entries,
    ):
        for entry in entries:
            # Read only the first line: a note has a line for each of up to 10,000 parts.
            with suppress(FileNotFoundError, msgspec.MsgspecError), open(entry.path, "rb") as file:  # noqa: PTH123
                found[msgspec.json.decode(file.readline(), type=_Header).upload] = entry.name
    return found


def _unlink(path: Path) -> None:
    with StorageErrors(path, "remove the note of an upload"):
        path.unlink(missing_ok=True)


def _part_lines(lines: list[bytes]) -> Iterator[tuple[int, str]]:
    for line in lines:
        number, answer = msgspec.json.decode(line, type=tuple[int, str])
        yield number, answer


def part_size(size: int) -> int:
    """Return the size of the parts of a multipart upload of `size` bytes. The last part may be smaller."""
    needed = -(-size // _MOST_PARTS)
    return max(_LEAST_PART, -(-needed // (1 << 20)) << 20)


def _write(path: Path, flags: int, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | flags, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        # DURABILITY: after a power cut before this sync, the data may end anywhere. `load` passes over an incomplete last line and over a damaged note.
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        # DURABILITY: after a power cut before this sync, an entry of the directory may be missing.
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
