"""The archive of a plan: the place of each member, and the bytes in order.

``oci-layout``, ``index.json`` and ``manifest.json`` come first, then the directories, then the blobs in the order of the plan.
So a reader of a pipe has all documents before the first layer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import anyio
import msgspec

from steelyard._archive import END, Layout, Member, layout, padding
from steelyard.content import Provider, ReaderAt
from steelyard.errors import DataCorrupt
from steelyard.images._pieces import READ_BYTES, RawPieces
from steelyard.images.documents import OCIDescriptor
from steelyard.images.exporting._content import Content
from steelyard.images.exporting._plan import Plan
from steelyard.images.layout._names import BLOBS, INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, SAVED_FILE, blob_name
from steelyard.images.node import Node

__all__ = ("WHOLE_BYTES", "Archive", "Part", "Report", "blob_pieces", "lay_out", "pieces")

WHOLE_BYTES = 256 << 10
"""Blobs of up to this many bytes are read as a whole, and small members are joined into pieces of about this size."""

Report = Callable[[OCIDescriptor, int], object]
"""Called with a blob and the number of its bytes that are done."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """One member: bytes in memory, or a blob."""

    member: Member
    data: bytes = b""
    blob: Node | None = None


class Archive(msgspec.Struct, frozen=True):
    """An archive with the place of each member."""

    parts: tuple[Part, ...]
    layout: Layout


def lay_out(plan: Plan) -> Archive:
    """Return the archive of a plan."""
    files = {LAYOUT_FILE: LAYOUT_BYTES, INDEX_FILE: plan.index}
    if plan.saved is not None:
        files[SAVED_FILE] = plan.saved
    parts = [Part(Member(name, len(data), 0o644), data) for name, data in files.items()]
    folders = {node.descriptor.blob.algorithm.value for node in plan.blobs}
    names = [BLOBS, *(f"{BLOBS}/{folder}" for folder in sorted(folders))]
    parts += [Part(Member(name, mode=0o755, directory=True)) for name in names]
    parts += [Part(Member(blob_name(node.descriptor.blob), node.descriptor.size), blob=node) for node in plan.blobs]
    return Archive(tuple(parts), layout(part.member for part in parts))


async def pieces(archive: Archive, content: Content, report: Report, *, verify: bool) -> AsyncGenerator[bytes, None]:
    """Yield the archive's bytes in order; the last piece of a blob only after the blob was verified.

    Raises:
        DataCorrupt, NotFound, StorageError: about a blob; the bytes so far are not a whole archive.
    """
    gathered = bytearray()
    for part, place in zip(archive.parts, archive.layout.places, strict=True):
        gathered += place.header
        if part.blob is None:
            gathered += part.data
        elif part.blob.descriptor.size <= WHOLE_BYTES:
            gathered += await content.read(part.blob.descriptor)
            report(part.blob.descriptor, part.blob.descriptor.size)
        else:
            async with aclosing(blob_pieces(content, part.blob.descriptor, report, verify=verify)) as blob:
                async for piece in blob:
                    if len(gathered) + len(piece) <= WHOLE_BYTES:
                        gathered += piece
                        continue
                    if gathered:
                        yield bytes(gathered)
                        gathered.clear()
                    yield piece
        gathered += bytes(padding(part.member.size))
        if len(gathered) > WHOLE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered) + END


async def blob_pieces(
    content: Provider, descriptor: OCIDescriptor, report: Report, *, verify: bool
) -> AsyncGenerator[bytes, None]:
    """Yield a blob's bytes; with `verify` the last piece only after the blob was verified."""
    async with content.reader_at(descriptor.target) as reader:
        done = 0
        held = b""
        async with aclosing(_verified(reader) if verify else aiter(RawPieces(reader))) as source:
            async for piece in source:
                if done + len(piece) > descriptor.size:
                    raise _other_size(descriptor, "more")
                if held:
                    yield held
                held = piece
                done += len(piece)
                report(descriptor, done)
        if done != descriptor.size:
            raise _other_size(descriptor, f"{done} bytes")
        if held:
            yield held


async def _verified(reader: ReaderAt) -> AsyncGenerator[bytes, None]:
    async with reader.stream() as stream:
        while True:
            try:
                yield await stream.receive(READ_BYTES)
            except anyio.EndOfStream:
                return


def _other_size(descriptor: OCIDescriptor, actual: str) -> DataCorrupt:
    return DataCorrupt(descriptor.digest, expected=f"{descriptor.size} bytes", actual=actual)
