"""What all layouts have in common: their two files, the index that is edited in one of them, and blobs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import msgspec
from anyio.abc import ByteSendStream

from steelyard.content import Provider
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, NotFound, UnexpectedDigest, UnexpectedSize
from steelyard.hashing import digest_of
from steelyard.images._off_loop import off_loop
from steelyard.images.documents import Document, ImageLayout, Index, OCIDescriptor
from steelyard.images.layout._names import INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, REF_NAME, encode_index
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.parse import parse_index, parse_layout
from steelyard.model import DEFAULT_ALGORITHM, Buffer

__all__ = ("BlobWriter", "LayoutDriver", "put_descriptors")

Entry: TypeAlias = dict[str, Any]
"""An entry of an index, with fields that this package does not know."""


class BlobWriter(ByteSendStream):
    """A blob on its way into a layout: write, then `commit`. Leaving it without `commit` discards it."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """Bytes written so far."""

    @abstractmethod
    async def write(self, data: Buffer) -> None:
        """Append all of `data`, which is borrowed for the call only.

        Raises:
            UnexpectedSize: there are more bytes than were announced.
        """

    async def send(self, item: Buffer) -> None:
        """Append all of `item`; the name that anyio's streams give to `write`."""
        await self.write(item)

    @abstractmethod
    async def commit(self, size: int | None = None, expected: Digest | str | None = None) -> Digest:
        """Make the bytes a blob of the layout, under their digest, and close the writer whatever happens.

        Args:
            size: the size that they must have.
            expected: the digest that they must have.

        Returns:
            The digest. A blob that was there before is the same; it is replaced, so that a damaged one is healed.

        Raises:
            UnexpectedSize, UnexpectedDigest: they have not. Nothing of them stays, but in an archive where the blob was
                streamed: that is broken, its last entry is cut off, and nothing more can be written to it.
        """


class LayoutDriver(Provider):
    """An image layout. It is a `Provider`, so that `walk_image` and `copy` read from it what they read from a store.

    A driver writes `_read`, `_write`, `_edit`, `blob_writer`, `delete_blob` and `reader_at`; the rest is here.
    """

    limits: Limits = DEFAULT_LIMITS
    """Bounds on the layout's own documents."""

    _last_index: tuple[Limits, Document[Index]] | None = None

    @abstractmethod
    async def blob_writer(
        self,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> BlobWriter:
        """Begin a blob.

        Args:
            size: the size that it will have. An archive streams a blob of a known size, and spools one of an unknown.
            expected: the digest that it will have; `BlobWriter.commit` holds it to both.
            algorithm: what to name it by; by default that of `expected`, or SHA-256.
        """

    @abstractmethod
    async def delete_blob(self, digest: Digest | str) -> None:
        """Remove a blob; the index is not asked.

        Raises:
            NotFound: there is none.
            FailedPrecondition: the layout can only be added to.
        """

    @abstractmethod
    async def _read(self, name: str) -> bytes:
        """Return one of the layout's files, at most a byte more than the limit; NotFound if it is not there."""

    @abstractmethod
    async def _write(self, name: str, data: bytes) -> None:
        """Replace one of the layout's files, at once."""

    @abstractmethod
    def _edit(self) -> AbstractAsyncContextManager[None]:
        """Keep everybody else from editing the files meanwhile, other processes too."""

    async def init(self) -> None:
        """Make the files of an empty layout, as far as they are not there.

        Raises:
            InvalidDocument: files of those names are there, but are not a layout's.
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
        """Return what ``oci-layout`` says.

        Raises:
            NotFound: it is not there.
            InvalidDocument: it is malformed, or a version of the layout that is not 1.
        """
        return parse_layout(await self._read(LAYOUT_FILE), limits=self.limits)

    async def write_layout(self, version: str = "1.0.0") -> None:
        """Replace ``oci-layout``.

        Raises:
            InvalidDocument: there is no such version.
        """
        raw = msgspec.json.encode({"imageLayoutVersion": version})
        parse_layout(raw)
        async with self._edit():
            await self._write(LAYOUT_FILE, raw)

    async def read_index(self) -> Document[Index]:
        """Return the index.

        Raises:
            NotFound: it is not there.
            InvalidDocument: it is malformed.
            LimitExceeded: it is too large or too deep.
        """
        return await self._parse_index(await self._read(INDEX_FILE))

    async def write_index(self, raw: bytes) -> Document[Index]:
        """Replace the index by these bytes, which have to be one.

        Raises:
            InvalidDocument, LimitExceeded: they are not.
        """
        document = await self._parse_index(raw)
        async with self._edit():
            await self._write(INDEX_FILE, raw)
        return document

    async def put_descriptor(self, descriptor: OCIDescriptor, *, name: str | None = None) -> None:
        """Add a descriptor to the index; entries of the same name go, and so does an entry for the same blob without one.

        Fields of the index and of its other entries that this package does not know stay as they are.

        Args:
            descriptor: what to add.
            name: the name in the index; None: the descriptor's own, if it has the annotation `REF_NAME`.

        Raises:
            InvalidArgument: an empty name.
            NotFound, InvalidDocument: there is no index that could be edited.
            LimitExceeded: it would become too large.
        """
        entry = descriptor
        if name is not None:
            annotations = {**(descriptor.annotations or {}), REF_NAME: _checked(name)}
            entry = msgspec.structs.replace(descriptor, annotations=annotations)
        await self._edit_index(lambda entries: _with_entry(entries, entry))

    async def remove_descriptor(self, name: str) -> int:
        """Remove the entries of that name from the index, and return how many there were; the blobs stay.

        Raises:
            InvalidArgument: an empty name.
            NotFound, InvalidDocument: there is no index that could be edited.
        """
        _checked(name)
        return -await self._edit_index(lambda entries: [each for each in entries if _name_of(each) != name])

    async def write_blob(self, data: Buffer, media_type: str, *, algorithm: Algorithm | None = None) -> OCIDescriptor:
        """Store bytes as a blob and return its descriptor."""
        size = memoryview(data).nbytes
        expected = await digest_of(data, algorithm=algorithm or DEFAULT_ALGORITHM)
        async with await self.blob_writer(size=size, expected=expected) as writer:
            await writer.write(data)
            digest = await writer.commit()
        return OCIDescriptor(media_type=media_type, digest=str(digest), size=size)

    async def write_json(self, value: Any, media_type: str) -> OCIDescriptor:
        """Store a value as a JSON blob and return its descriptor; the bytes are compact, and keys stay in their order."""
        return await self.write_blob(msgspec.json.encode(value), media_type)

    async def _edit_index(self, change: Callable[[list[Entry]], list[Entry]]) -> int:
        """Replace the entries of the index, unless they stay the same; return how many more there are."""
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
        """Return the index of these bytes; the last one that was parsed is not parsed again."""
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

    await layout._edit_index(change)  # noqa: SLF001  # an edit of several entries is no part of the interface


def check_blob(
    found: Digest, size: int, *, sizes: tuple[int | None, ...], digests: tuple[Digest | str | None, ...]
) -> None:
    """Refuse a blob that has not the sizes and digests that it was announced with."""
    for wanted in sizes:
        if wanted is not None and wanted != size:
            raise UnexpectedSize(expected=wanted, actual=size)
    for digest in digests:
        if digest is not None and Digest.parse(digest) != found:
            raise UnexpectedDigest(expected=str(digest), actual=str(found))


def check_room(size: int, announced: int | None) -> None:
    """Refuse bytes beyond the size that was announced."""
    if announced is not None and size > announced:
        raise UnexpectedSize(expected=announced, actual=size)


def _checked(name: str) -> str:
    if not name:
        raise InvalidArgument("name in the index: it is empty")
    return name


def _with_entry(entries: list[Entry], descriptor: OCIDescriptor) -> list[Entry]:
    """Return the entries with one more, without those that it replaces."""
    entry = msgspec.to_builtins(descriptor)
    wanted = _name_of(entry)

    def is_other(each: Entry) -> bool:
        return _name_of(each) != wanted or (wanted is None and each["digest"] != descriptor.digest)

    return [*filter(is_other, entries), entry]


def _name_of(entry: Entry) -> str | None:
    name: str | None = (entry.get("annotations") or {}).get(REF_NAME)
    return name
