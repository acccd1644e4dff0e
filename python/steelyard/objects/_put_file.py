"""Storing a large file directly, without a copy in the spool.

The digest must be known before the first part is sent, because it names the object. So a file is read twice unless the caller gives its digest.
Each part is hashed in memory before it is sent, and the upload is completed only if the whole has the digest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol
from uuid import uuid4

import anyio

from steelyard.content import Opening, Writer
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, SteelyardError, UnexpectedDigest, UnexpectedSize
from steelyard.hashing import digest_of
from steelyard.model import Info, PutResult, Source
from steelyard.objects._file import ChangedError, LargeFile, large_file
from steelyard.objects._uploads import ONE_REQUEST_BYTES, Sealed
from steelyard.options import CommitOptions, PutOptions, name_of

__all__ = ("put_file",)

_ABORT_SECONDS = 2.0
"""The longest wait for the server to discard the upload of a put that failed."""


class _OpenWriter(Protocol):
    def __call__(
        self, ref: str, *, size: int | None = None, expected: Digest | str | None = None
    ) -> Opening[Writer]: ...


async def put_file(
    source: Source,
    options: PutOptions,
    open_writer: _OpenWriter,
    commit: Callable[[Sealed, CommitOptions], Awaitable[Info | None]],
    end: Callable[[str], Awaitable[object]],
) -> PutResult | None:
    """Store a large file. Return None if the caller must store the source through an ingest: any other source, or a file that changes meanwhile.

    Args:
        source: the argument of `Store.put`.
        options: the options of the put, which has no ref.
        open_writer: `Ingester.writer`.
        commit: makes the bytes a blob; returns its info, or None if it is stored already.
        end: removes an ingest and its upload.
    """
    if options.verify:
        return None
    async with large_file(source, more=ONE_REQUEST_BYTES) as file:
        if file is None:
            return None
        if options.size not in {None, file.range.size}:
            raise UnexpectedSize(expected=options.size, actual=file.range.size)
        digest = options.expected
        if digest is None:
            digest = await digest_of(file.range, algorithm=options.algorithm)
        # An empty ingest shows other programs that the upload is in use, and after a crash that this spool began it.
        ref = f"put-{uuid4().hex}"
        sealed = Sealed(digest=digest, size=file.range.size, path="", name=ref, source=file)
        try:
            async with open_writer(ref, size=sealed.size, expected=digest):
                return await _send(file, sealed, name_of(source), options, commit)
        except AlreadyExists:
            return PutResult(digest=digest, size=sealed.size, new=False)
        except ChangedError as changed:
            if options.expected is None or not changed.args:
                return None
            raise UnexpectedDigest(expected=digest, actual=changed.args[0]) from None
        finally:
            # CANCEL: no other caller knows this ref, so the ingest and the upload are removed, unless the server does not answer.
            with anyio.move_on_after(_ABORT_SECONDS, shield=True), suppress(SteelyardError):
                await end(ref)


async def _send(
    file: LargeFile,
    sealed: Sealed,
    name: str,
    options: PutOptions,
    commit: Callable[[Sealed, CommitOptions], Awaitable[Info | None]],
) -> PutResult:
    file.report = lambda done: options.report("write", name, done, sealed.size)
    file.report(0)
    info = await commit(sealed, CommitOptions(labels=options.labels))
    options.report("commit", name, sealed.size, sealed.size)
    return PutResult(digest=sealed.digest, size=sealed.size, new=info is not None)
