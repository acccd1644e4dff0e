"""One source into one ingest: position, fill, commit; start over when what was kept turns out to be something else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec

from steelyard.content import Writer
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, DataCorrupt, UnexpectedDigest, UnexpectedSize
from steelyard.model import Labels, OnProgress, Progress, PutResult
from steelyard.transfer._source import PIECE, Pieces

__all__ = ("Job",)


class _StaleIngestError(Exception):
    """What the ingest held before was no part of this source."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be stored.

    Attributes:
        pieces: the source.
        size: the size that it must have, or None.
        expected: the digest that it must have, or None.
        labels: labels for the blob if it is new.
        verify: read the whole ingest again before it is published; see `Writer.commit`.
        name: what progress reports call it.
        on_progress: who hears of it.
    """

    pieces: Pieces
    name: str
    size: int | None = None
    expected: Digest | None = None
    labels: Labels | None = None
    verify: bool = False
    on_progress: OnProgress | None = None

    async def run(self, open_writer: Callable[[], Awaitable[Writer]]) -> PutResult:
        """Store the source through the writer that `open_writer` gives, resuming what it holds.

        What an ingest holds is trusted when the source can be positioned after it, and compared otherwise. Should the
        commit then refuse the whole, the kept part was another source's or is damaged: it is dropped, and the source read from its
        start, once. So a wrong ingest never stands in the way of a right source.

        Raises:
            AlreadyExists: from `open_writer` only.
        """
        try:
            return await self._attempt(await open_writer())
        except _StaleIngestError:
            writer = await open_writer()
            try:
                await writer.truncate(0)
            except BaseException:
                await writer.aclose()
                raise
            return await self._attempt(writer)

    async def _attempt(self, writer: Writer) -> PutResult:
        # CANCEL: leaving the writer keeps the ingest with the bytes accepted so far, for the next job of its ref.
        async with writer:
            await self._position(writer)
            kept = writer.offset
            self.report("write", kept)
            await self.fill(writer)
            size = writer.offset
            self.report("commit", size)
            try:
                info = await writer.commit(self.size, self.expected, labels=self.labels, verify=self.verify)
            except AlreadyExists as stored:
                return PutResult(digest=Digest.parse(stored.digest), size=size, new=False)
            except (UnexpectedDigest, UnexpectedSize, DataCorrupt):
                if kept and await self.pieces.seek(0):
                    raise _StaleIngestError from None
                raise
            return PutResult(digest=info.digest, size=info.size, new=True)

    async def fill(self, writer: Writer, *, most: int = PIECE) -> None:
        """Write the rest of the source, in pieces of at most `most` bytes; a store that knows a shorter way takes it.

        Raises:
            UnexpectedSize: there is more of it than there should be.
        """
        while piece := await self.pieces.read(most):
            if self.size is not None and writer.offset + len(piece) > self.size:
                raise UnexpectedSize(expected=self.size, actual=writer.offset + len(piece), ref=writer.ref)
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
                raise UnexpectedDigest(expected=str(held), actual=str(found), ref=writer.ref)

    def report(self, phase: Literal["write", "commit"], done: int) -> None:
        """Tell the caller how far it is."""
        if self.on_progress is not None:
            total = self.size if self.size is not None else self.pieces.size
            self.on_progress(Progress(phase=phase, name=self.name, done=done, total=total))
