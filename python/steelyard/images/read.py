"""Reading an image's documents from a store."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec

from steelyard._archive import _json
from steelyard.content import Provider, ReaderAt
from steelyard.digest import Digest
from steelyard.errors import InvalidDocument, LimitExceeded
from steelyard.images import media_types
from steelyard.images._turns import aside
from steelyard.images.documents import AnyDocument, OCIDescriptor
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.parse import check_json, parse_document
from steelyard.model import Descriptor

__all__ = ("describe", "read_document")

_PIECE = 1 << 20


async def read_document(
    provider: Provider, descriptor: OCIDescriptor, *, limits: Limits = DEFAULT_LIMITS
) -> AnyDocument:
    """Return the document that the descriptor names, read whole and verified.

    The descriptor's own `OCIDescriptor.data` is taken if it is what its size and digest say, and otherwise ignored.

    Raises:
        NotFound: it is not stored.
        InvalidDocument: it is malformed, has another size than the descriptor says, or is another kind of document.
        LimitExceeded: it is too large or too deep.
        DataCorrupt: the stored bytes are not what the digest says.
        UnsupportedAlgorithm: no store computes such a digest.
    """
    raw = descriptor.embedded()
    if raw is None:
        if descriptor.size > limits.json_bytes:
            raise _too_large(descriptor.digest, limits, descriptor.size)
        async with await provider.reader_at(descriptor.blob) as reader:
            raw = await _read(reader, limits)
        if len(raw) != descriptor.size:
            # The bytes are those of the digest, so it is the descriptor that is wrong.
            expected = f"{descriptor.size} bytes, as its descriptor says"
            raise InvalidDocument(descriptor.digest, expected=expected, found=str(len(raw)))
    return await _parse(raw, descriptor.media_type, descriptor.digest, limits)


async def describe(
    provider: Provider, target: Descriptor | Digest | str, *, limits: Limits = DEFAULT_LIMITS
) -> OCIDescriptor:
    """Return the descriptor of an image's root, with the size and media type that `target` does not say.

    A media type that is not known is that of the document itself, or OCI's for what the document has: ``manifests``,
    ``layers``; of anything else it is ``application/octet-stream``.

    Raises:
        NotFound: the blob is not stored, and its size or media type is not known.
        DataCorrupt: the stored bytes are not what the digest says.
        InvalidDocument: the document names a media type that contradicts what it has.
    """
    given = target if isinstance(target, Descriptor) else Descriptor(digest=Digest.parse(target))
    if given.size is not None and given.media_type is not None:
        return OCIDescriptor.of(given)
    async with await provider.reader_at(given.digest) as reader:
        size = reader.size
        media_type = given.media_type
        if media_type is None:
            media_type = "application/octet-stream"
            if size <= limits.json_bytes:
                media_type = await _guess_aside(await _read(reader, limits), str(given.digest), limits)
    if given.size not in {None, size}:
        raise InvalidDocument(str(given.digest), expected=f"{given.size} bytes", found=str(size))
    return OCIDescriptor.of(msgspec.structs.replace(given, size=size, media_type=media_type))


async def _guess_aside(raw: bytes, name: str, limits: Limits) -> str:
    return await aside(len(raw), lambda: _guess(raw, name, limits))


def _guess(raw: bytes, name: str, limits: Limits) -> str:
    try:
        check_json(raw, name=name, limits=limits)
        value: Any = _json.decode(raw, Any)
    except (InvalidDocument, LimitExceeded, msgspec.DecodeError):
        return "application/octet-stream"
    if not isinstance(value, dict):
        return "application/octet-stream"
    own = value.get("mediaType")
    if isinstance(own, str) and media_types.kind_of(own) in {"index", "manifest"}:
        parse_document(raw, own, name=name, limits=limits)
        return own
    if "manifests" in value:
        return media_types.OCI_INDEX
    if "fsLayers" in value:
        parse_document(raw, next(iter(media_types.SCHEMA_1)), name=name, limits=limits)
    return media_types.OCI_MANIFEST if "layers" in value else "application/octet-stream"


async def _read(reader: ReaderAt, limits: Limits) -> bytes:
    """Read a blob to its verified end; what is too large is given up after the limit, whatever its size was said to be."""
    if reader.size > limits.json_bytes:
        raise _too_large(str(reader.digest), limits, reader.size)
    pieces: list[bytes] = []
    size = 0
    async with reader.stream() as stream:
        while True:
            try:
                piece = await stream.receive(_PIECE)
            except anyio.EndOfStream:
                return b"".join(pieces)
            size += len(piece)
            if size > limits.json_bytes:
                raise _too_large(str(reader.digest), limits, None)
            pieces.append(piece)


async def _parse(raw: bytes, media_type: str, name: str, limits: Limits) -> AnyDocument:
    return await aside(len(raw), lambda: parse_document(raw, media_type, name=name, limits=limits))


def _too_large(name: str, limits: Limits, found: int | None) -> LimitExceeded:
    return LimitExceeded(name, limit="json_bytes", allowed=limits.json_bytes, found=found)
