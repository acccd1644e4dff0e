"""Transfers one source into one ingest: position, fill, commit. Starts over if the bytes in the ingest are not the source's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from steelyard.content import Opening, Writer
from steelyard.errors import AlreadyExists, DataCorrupt, UnexpectedDigest, UnexpectedSize
from steelyard.model import PutResult
from steelyard.options import PutOptions
from steelyard.transfer._source import READ_BYTES, Pieces

__all__ = ("Transfer",)


class _StaleIngestError(Exception):
    """The earlier bytes of the ingest do not come from this source."""


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """The transfer of a source into an ingest.

    Attributes:
        pieces: the source.
        name: its name in progress reports.
        options: the options of the put.
    """

    pieces: Pieces
    name: str
    options: PutOptions

    async def run(self, open_writer: Callable[[], Opening[Writer]]) -> PutResult:
        """Store the source through the writer that `open_writer` opens, and resume the ingest.

        If the source can be positioned after the earlier bytes of the ingest, those are trusted; otherwise they are compared with the
        source. If the commit then finds a wrong size or digest, or damage, the earlier bytes came from another source or are damaged:
        they are dropped, and the source is stored from its start, once. So a wrong ingest never blocks a right source.

        Raises:
            AlreadyExists: from `open_writer` only.
        """
        # CANCEL: leaving the writer keeps the ingest with the bytes accepted so far, for the next transfer under its ref.
        try:
            async with open_writer() as writer:
                return await self._attempt(writer)
        except _StaleIngestError:
            async with open_writer() as writer:
                await writer.truncate(0)
                return await self._attempt(writer)

    async def _attempt(self, writer: Writer) -> PutResult:
        options = self.options
        await self._position(writer)
        kept = writer.offset
        self.report("write", kept)
        await self.fill(writer)
        size = writer.offset
        self.report("commit", size)
        try:
            info = await writer.commit(
                size=options.size, expected=options.expected, labels=options.labels, verify=options.verify
            )
        except AlreadyExists as stored:
            return PutResult(digest=stored.digest, size=size, new=False)
        except (UnexpectedDigest, UnexpectedSize, DataCorrupt):
            if kept and await self.pieces.seek(0):
                raise _StaleIngestError from None
            raise
        return PutResult(digest=info.digest, size=info.size, new=True)

    async def fill(self, writer: Writer, *, most: int = READ_BYTES) -> None:
        """Write the rest of the source, in pieces of at most `most` bytes; a store with a faster way overrides it.

        Raises:
            UnexpectedSize: the source is longer than `options.size`.
        """
        size = self.options.size
        while piece := await self.pieces.read(most):
            if size is not None and writer.offset + len(piece) > size:
                raise UnexpectedSize(writer.ref, expected=size, actual=writer.offset + len(piece))
            await writer.write(piece)
            self.report("write", writer.offset)

    async def _position(self, writer: Writer) -> None:
        """Bring the source to the writer's offset, or the ingest back to its start."""
        offset = writer.offset
        if not offset:
            return
        if self.pieces.seekable:
            if self.pieces.size is not None and offset <= self.pieces.size:
                await self.pieces.seek(offset)
            else:
                await writer.truncate(0)
            return
        held = await writer.digest()
        found = await self.pieces.skip(offset, held.algorithm)
        if found != held:
            await writer.truncate(0)
            if not await self.pieces.seek(0):
                raise UnexpectedDigest(writer.ref, expected=held, actual=found)

    def report(self, phase: Literal["write", "commit"], done: int) -> None:
        """Report progress to the caller."""
        size = self.options.size
        self.options.report(phase, self.name, done, self.pieces.size if size is None else size)
