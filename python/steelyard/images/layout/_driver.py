"""The interface of layouts, and their common part: the two files, edits of the index, blobs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import msgspec
from anyio.abc import ByteSendStream

from steelyard.content import Opening, Provider
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, NotFound, UnexpectedDigest, UnexpectedSize
from steelyard.hashing import Hasher, digest_of
from steelyard.images._off_loop import off_loop
from steelyard.images.documents import Document, ImageLayout, Index, OCIDescriptor
from steelyard.images.layout._names import INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, REF_NAME, encode_index
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.parse import parse_index, parse_layout
from steelyard.model import DEFAULT_ALGORITHM, Buffer
from steelyard.options import PutOptions

__all__ = ("BlobWriter", "HashedWriter", "LayoutDriver", "put_descriptors")

Entry: TypeAlias = dict[str, Any]
"""An entry of an index, with fields that this package does not know."""


class BlobWriter(ByteSendStream):
    """Writes a blob to a layout: call `write`, then `commit`. Closing it without `commit` discards the blob."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """Bytes written so far."""

    @abstractmethod
    async def write(self, data: Buffer) -> None:
        """Append all of `data`, which is used only during the call.

        Raises:
            UnexpectedSize: there are more bytes than announced.
        """

    async def send(self, item: Buffer) -> None:
        """Append all of `item`: the name of `write` in anyio's streams."""
        await self.write(item)

    @abstractmethod
    async def commit(self, *, size: int | None = None, expected: Digest | str | None = None) -> Digest:
        """Publish the bytes as a blob under their digest. The writer is closed in any case.

        Args:
            size: the required size.
            expected: the required digest.

        Returns:
            The digest. An existing blob is replaced, which repairs a damaged blob.

        Raises:
            UnexpectedSize, UnexpectedDigest: the bytes do not match, and are dropped. If the blob was streamed to an archive, the
                archive is now broken: its last entry is incomplete, and nothing more can be written to it.
        """


class HashedWriter(BlobWriter):
    """A writer that hashes the bytes as they are written.

    Args:
        options: the announced size and digest, and the algorithm.
    """

    def __init__(self, options: PutOptions) -> None:
        self._options = options
        self._hasher = Hasher(options.algorithm)
        self._offset = 0

    @property
    def offset(self) -> int:
        return self._offset

    def _octets(self, data: Buffer) -> memoryview:
        """Return the bytes of `data`, which must fit into the announced size."""
        octets = memoryview(data).cast("B")
        check_room(self._offset + len(octets), self._options)
        return octets

    def _verified(self, size: int | None, expected: Digest | str | None) -> Digest:
        """Return the digest of the written bytes, which must match the size and the digest."""
        found = self._hasher.digest()
        check_blob(found, self._offset, self._options, PutOptions.parse(size=size, expected=expected))
        return found


class LayoutDriver(Provider):
    """An image layout. It is a `Provider`, so `walk_image` and `copy` read from it as from a store.

    A driver implements `_read`, `_write`, `_edit`, `blob_writer`, `delete_blob` and `reader_at`.
    """

    limits: Limits = DEFAULT_LIMITS
    """Bounds on the layout's own documents."""

    _last_index: tuple[Limits, Document[Index]] | None = None

    @abstractmethod
    def blob_writer(
        self,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Opening[BlobWriter]:
        """Start a blob.

        Args:
            size: its size. An archive streams a blob of known size and digest, and spools any other blob.
            expected: its digest; `BlobWriter.commit` checks both.
            algorithm: the algorithm of its digest; by default that of `expected`, or SHA-256.
        """

    @abstractmethod
    async def delete_blob(self, digest: Digest | str) -> None:
        """Remove a blob, even if the index names it.

        Raises:
            NotFound: there is no such blob.
            FailedPrecondition: the layout does not support removal.
        """

    @abstractmethod
    async def _read(self, name: str) -> bytes:
        """Return one of the layout's files, at most a byte more than the limit; NotFound if it does not exist."""

    @abstractmethod
    async def _write(self, name: str, data: bytes) -> None:
        """Replace one of the layout's files, atomically."""

    @abstractmethod
    def _edit(self) -> AbstractAsyncContextManager[None]:
        """Lock the files against other editors, including those in other processes."""

    async def init(self) -> None:
        """Create those files of an empty layout that do not exist yet.

        Raises:
            InvalidDocument: a file of that name exists, but is not the file of a layout.
        """
        async with self._edit():
            try:
                await self.read_layout()
            except NotFound:
                await self._write(LAYOUT_FILE, LAYOUT_BYTES)
            try:
                await self.read_index()
            except NotFound:
                await self._write(INDEX_FILE, encode_index(()))

    async def read_layout(self) -> Document[ImageLayout]:
        """Return the content of ``oci-layout``.

        Raises:
            NotFound: the file does not exist.
            InvalidDocument: it is malformed, or its version is not 1.
        """
        return parse_layout(await self._read(LAYOUT_FILE), limits=self.limits)

    async def write_layout(self, version: str = "1.0.0") -> None:
        """Replace ``oci-layout``.

        Raises:
            InvalidDocument: the version is invalid.
        """
        raw = msgspec.json.encode({"imageLayoutVersion": version})
        parse_layout(raw)
        async with self._edit():
            await self._write(LAYOUT_FILE, raw)

    async def read_index(self) -> Document[Index]:
        """Return the index.

        Raises:
            NotFound: the file does not exist.
            InvalidDocument: it is malformed.
            LimitExceeded: it is too large or too deep.
        """
        return await self._parse_index(await self._read(INDEX_FILE))

    async def write_index(self, raw: bytes) -> Document[Index]:
        """Replace the index by these bytes.

        Raises:
            InvalidDocument, LimitExceeded: they are not a valid index.
        """
        document = await self._parse_index(raw)
        async with self._edit():
            await self._write(INDEX_FILE, raw)
        return document

    async def put_descriptor(self, descriptor: OCIDescriptor, *, name: str | None = None) -> None:
        """Add a descriptor to the index. It replaces entries of the same name, or an entry without a name for the same blob.

        Unknown fields of the index and of its other entries do not change.

        Args:
            descriptor: the new entry.
            name: its name in the index; None: its annotation `REF_NAME`, if it has one.

        Raises:
            InvalidArgument: the name is empty.
            NotFound, InvalidDocument: there is no valid index.
            LimitExceeded: the index would become too large.
        """
        entry = descriptor
        if name is not None:
            annotations = {**(descriptor.annotations or {}), REF_NAME: _checked(name)}
            entry = msgspec.structs.replace(descriptor, annotations=annotations)
        await self._edit_index(lambda entries: _with_entry(entries, entry))

    async def remove_descriptor(self, name: str) -> int:
        """Remove the entries of that name from the index, and return their number; the blobs stay.

        Raises:
            InvalidArgument: the name is empty.
            NotFound, InvalidDocument: there is no valid index.
        """
        _checked(name)
        return -await self._edit_index(lambda entries: [each for each in entries if _name_of(each) != name])

    async def write_blob(self, data: Buffer, media_type: str, *, algorithm: Algorithm | None = None) -> OCIDescriptor:
        """Store bytes as a blob and return its descriptor."""
        size = memoryview(data).nbytes
        expected = await digest_of(data, algorithm=algorithm or DEFAULT_ALGORITHM)
        async with self.blob_writer(size=size, expected=expected) as writer:
            await writer.write(data)
            digest = await writer.commit()
        return OCIDescriptor(media_type=media_type, digest=str(digest), size=size)

    async def write_json(self, value: Any, media_type: str) -> OCIDescriptor:
        """Store a value as a compact JSON blob and return its descriptor; keys keep their order."""
        return await self.write_blob(msgspec.json.encode(value), media_type)

    async def _edit_index(self, change: Callable[[list[Entry]], list[Entry]]) -> int:
        """Replace the entries of the index if they change; return the change of their number."""
        async with self._edit():
            document = await self.read_index()
            value = dict(await off_loop(len(document.raw), document.value))
            before = value["manifests"] or []
            after = value["manifests"] = change(before)
            if after != before:
                raw = await off_loop(len(document.raw), lambda: msgspec.json.encode(value))
                await self._parse_index(raw)
                await self._write(INDEX_FILE, raw)
        return len(after) - len(before)

    async def _parse_index(self, raw: bytes) -> Document[Index]:
        """Return the index of these bytes. If they are the same as in the last call, they are not parsed again."""
        last, limits = self._last_index, self.limits
        if last is None or last[0] != limits or last[1].raw != raw:
            last = limits, await off_loop(len(raw), lambda: parse_index(raw, limits=limits))
            self._last_index = last
        return last[1]


async def put_descriptors(layout: LayoutDriver, descriptors: Iterable[OCIDescriptor]) -> None:
    """Add descriptors to the index of a layout in one edit; see `LayoutDriver.put_descriptor`."""

    def change(entries: list[Entry]) -> list[Entry]:
        for descriptor in descriptors:
            entries = _with_entry(entries, descriptor)
        return entries

    await layout._edit_index(change)  # noqa: SLF001  # not part of the interface


def check_blob(found: Digest, size: int, announced: PutOptions, required: PutOptions) -> None:
    """Refuse a blob that does not match the sizes and digests."""
    for options in (announced, required):
        if options.size is not None and options.size != size:
            raise UnexpectedSize(expected=options.size, actual=size)
    for options in (announced, required):
        if options.expected is not None and options.expected != found:
            raise UnexpectedDigest(expected=options.expected, actual=found)


def check_room(size: int, announced: PutOptions) -> None:
    """Refuse bytes beyond the announced size."""
    if announced.size is not None and size > announced.size:
        raise UnexpectedSize(expected=announced.size, actual=size)


def _checked(name: str) -> str:
    if not name:
        raise InvalidArgument("name in the index: it is empty")
    return name


def _with_entry(entries: list[Entry], descriptor: OCIDescriptor) -> list[Entry]:
    """Return the entries with a new one added, and without the entries that it replaces."""
    entry = msgspec.to_builtins(descriptor)
    wanted = _name_of(entry)

    def is_other(each: Entry) -> bool:
        return _name_of(each) != wanted or (wanted is None and each["digest"] != descriptor.digest)

    return [*filter(is_other, entries), entry]


def _name_of(entry: Entry) -> str | None:
    name: str | None = (entry.get("annotations") or {}).get(REF_NAME)
    return name
