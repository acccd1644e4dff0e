"""Reading an image's documents from a store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import msgspec

from steelyard._archive import _json
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.errors import InvalidDocument, LimitExceeded
from steelyard.images import media_types
from steelyard.images._off_loop import off_loop
from steelyard.images._pieces import READ_BYTES
from steelyard.images.documents import AnyDocument, OCIDescriptor
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.node import Key, key_of
from steelyard.images.parse import check_json, parse_document
from steelyard.model import Descriptor

__all__ = ("DocumentReader", "ParsedDocuments", "describe", "parse_off_loop", "read_document")

_UNKNOWN = "application/octet-stream"


async def read_document(
    provider: Provider, descriptor: OCIDescriptor, *, limits: Limits = DEFAULT_LIMITS
) -> AnyDocument:
    """Read the document that the descriptor names as a whole, verify it, and return it.

    The descriptor's own `OCIDescriptor.data` is used if its size and digest are right, and ignored otherwise.

    Raises:
        NotFound: the document is not stored.
        InvalidDocument: the document is malformed, has another size than the descriptor says, or is of another kind.
        LimitExceeded: the document is too large or too deep.
        DataCorrupt: the stored bytes do not match the digest.
        UnsupportedAlgorithm: no store computes digests of this algorithm.
    """
    return await parse_off_loop(await _read(provider, descriptor, limits), descriptor, limits)


async def describe(
    provider: Provider, target: Descriptor | Digest | str, *, limits: Limits = DEFAULT_LIMITS
) -> OCIDescriptor:
    """Return the descriptor of an image's root, and add the size and media type if `target` lacks them.

    An unknown media type is taken from the document itself, or else from its fields: ``manifests`` means OCI's index, ``layers``
    OCI's manifest. For anything else it is ``application/octet-stream``.

    Raises:
        NotFound: the blob is not stored, and its size or media type is not known.
        DataCorrupt: the stored bytes do not match the digest.
        InvalidDocument: the document names a media type that contradicts its fields.
    """
    return await DocumentReader(provider, ParsedDocuments(limits)).describe(target)


class ParsedDocuments:
    """The documents that one operation has parsed, from any source.

    Args:
        limits: bounds on the documents.

    Attributes:
        limits: bounds on the documents.
        documents: the indexes and manifests.
        configs: the keys of the configs; their contents are not kept.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.documents: dict[Key, AnyDocument] = {}
        self.configs: set[Key] = set()


class DocumentReader:
    """Reads the documents of one operation from one provider: each is read once, and parsed only once.

    Args:
        provider: has the documents.
        parsed: the documents that the operation has parsed; the reader adds its own.

    Attributes:
        limits: bounds on the documents.
    """

    def __init__(self, provider: Provider, parsed: ParsedDocuments) -> None:
        self.limits: Limits = parsed.limits
        self._provider = provider
        self._parsed = parsed
        self._read: set[Key] = set()

    async def read(self, descriptor: OCIDescriptor) -> AnyDocument:
        """Return a document, and keep it; see `read_document`."""
        key, documents = key_of(descriptor), self._parsed.documents
        if key not in self._read or key not in documents:
            raw = await _read(self._provider, descriptor, self.limits)
            if key not in documents:
                documents[key] = await parse_off_loop(raw, descriptor, self.limits)
            self._read.add(key)
        return documents[key]

    async def check_config(self, descriptor: OCIDescriptor) -> None:
        """Check a config. Raises the same errors as `read_document`."""
        key = key_of(descriptor)
        if key in self._read:
            return
        raw = await _read(self._provider, descriptor, self.limits)
        if key not in self._parsed.configs:
            await parse_off_loop(raw, descriptor, self.limits)
            self._parsed.configs.add(key)
        self._read.add(key)

    def add(self, descriptor: OCIDescriptor, document: AnyDocument) -> None:
        """Keep a document that need not be read."""
        self._parsed.documents[key_of(descriptor)] = document
        self._read.add(key_of(descriptor))

    def forget(self, descriptors: Iterable[OCIDescriptor]) -> None:
        """Free the memory of documents that are not needed again."""
        for descriptor in descriptors:
            self._parsed.documents.pop(key_of(descriptor), None)

    async def describe(self, target: Descriptor | Digest | str) -> OCIDescriptor:
        """Return the descriptor of an image's root; see `describe`. A document that is read for that is kept."""
        given = target if isinstance(target, Descriptor) else Descriptor(digest=Digest.parse(target))
        if given.size is not None and given.media_type is not None:
            return OCIDescriptor.of(given)
        document = None
        async with self._provider.reader_at(given.digest) as reader:
            size, media_type = reader.size, given.media_type
            if media_type is None and size <= self.limits.json_bytes:
                raw = await _read_whole(reader, self.limits)
                media_type, document = await off_loop(len(raw), lambda: _recognise(raw, str(given.digest), self.limits))
        if given.size not in {None, size}:
            raise InvalidDocument(str(given.digest), expected=f"{given.size} bytes", actual=str(size))
        found = OCIDescriptor.of(msgspec.structs.replace(given, size=size, media_type=media_type or _UNKNOWN))
        if document is not None:
            self.add(found, document)
        return found


def _recognise(raw: bytes, name: str, limits: Limits) -> tuple[str | None, AnyDocument | None]:
    """Return the media type that a document names or implies, and the document if it is valid for that type.

    Raises:
        InvalidDocument: the document contradicts the media type that it names, or is a manifest of Docker's schema 1.
    """
    try:
        check_json(raw, name=name, limits=limits)
        value: Any = _json.decode(raw, Any)
    except (InvalidDocument, LimitExceeded, msgspec.DecodeError):
        return None, None
    if not isinstance(value, dict):
        return None, None
    own = value.get("mediaType")
    is_own = isinstance(own, str) and media_types.kind_of(own) in {"index", "manifest"}
    media_type = own if is_own else _meant(value)
    if media_type is None:
        return None, None
    try:
        return media_type, parse_document(raw, media_type, name=name, limits=limits)
    except InvalidDocument:
        if is_own or media_type in media_types.SCHEMA_1:
            raise
        return media_type, None  # the reader of the document refuses it


def _meant(value: dict[str, Any]) -> str | None:
    """Return the media type that the fields of a document imply."""
    if "manifests" in value:
        return media_types.OCI_INDEX
    if "fsLayers" in value:
        return next(iter(media_types.SCHEMA_1))
    return media_types.OCI_MANIFEST if "layers" in value else None


async def _read(provider: Provider, descriptor: OCIDescriptor, limits: Limits) -> bytes:
    raw = descriptor.embedded()
    if raw is not None:
        return raw
    if descriptor.size > limits.json_bytes:
        raise _too_large(descriptor.digest, limits, descriptor.size)
    async with provider.reader_at(descriptor.blob) as reader:
        raw = await _read_whole(reader, limits)
    if len(raw) != descriptor.size:
        # The bytes match the digest, so the descriptor is wrong.
        expected = f"{descriptor.size} bytes, as its descriptor says"
        raise InvalidDocument(descriptor.digest, expected=expected, actual=str(len(raw)))
    return raw


async def _read_whole(reader: ReaderAt, limits: Limits) -> bytes:
    """Read a blob to its verified end; stop after the limit, whatever size the reader reports."""
    if reader.size > limits.json_bytes:
        raise _too_large(str(reader.digest), limits, reader.size)
    pieces: list[bytes] = []
    size = 0
    async with reader.stream() as stream:
        while True:
            try:
                piece = await stream.receive(READ_BYTES)
            except anyio.EndOfStream:
                return b"".join(pieces)
            size += len(piece)
            if size > limits.json_bytes:
                raise _too_large(str(reader.digest), limits, None)
            pieces.append(piece)


async def parse_off_loop(raw: bytes, descriptor: OCIDescriptor, limits: Limits) -> AnyDocument:
    """Return the document of that descriptor; a large one is parsed off the event loop."""
    return await off_loop(
        len(raw), lambda: parse_document(raw, descriptor.media_type, name=descriptor.digest, limits=limits)
    )


def _too_large(name: str, limits: Limits, found: int | None) -> LimitExceeded:
    return LimitExceeded(name, limit="json_bytes", allowed=limits.json_bytes, actual=found)
