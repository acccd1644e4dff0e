"""`Store.put` on the interfaces alone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from uuid import uuid4

import anyio

from steelyard.content import Store, Writer
from steelyard.digest import Algorithm, Digest
from steelyard.errors import AlreadyExists, SteelyardError, UnexpectedSize
from steelyard.model import DEFAULT_ALGORITHM, Labels, OnProgress, PutResult, Source
from steelyard.transfer._ingest import Job
from steelyard.transfer._source import name_of, opened

__all__ = ("put",)

_ABORT_SECONDS = 2.0


async def put(
    store: Store,
    source: Source,
    *,
    size: int | None = None,
    expected: Digest | str | None = None,
    algorithm: Algorithm | None = None,
    labels: Mapping[str, str] | None = None,
    ref: str | None = None,
    on_progress: OnProgress | None = None,
) -> PutResult:
    """Store what `source` gives and return its digest, its size and whether it was new; see `Store.put`.

    With a `ref`, a source that can be positioned (bytes, a path, a seekable file) goes on after the bytes that the
    ingest holds. Another one is read from its start: its first bytes are compared with the ingest by their digest. If
    they differ, or the source is shorter than the ingest, the ingest is emptied and the source stored from its start.

    Raises:
        UnexpectedDigest: also when a source that can be read only once is not the one that the ingest was begun with;
            the ingest is then empty, and the same call with a fresh source succeeds.
    """
    wanted = None if expected is None else Digest.parse(expected)
    if algorithm is None:
        # Not the algorithm of the ingest: what a blob is named by does not depend on who began it.
        algorithm = DEFAULT_ALGORITHM if wanted is None else wanted.algorithm
    kept = Labels(labels)  # refused before a byte is read
    name = f"put-{uuid4().hex}" if ref is None else ref
    async with opened(source) as pieces:
        if size is not None and pieces.size and pieces.size != size:
            raise UnexpectedSize(expected=size, actual=pieces.size, ref=ref)
        job = Job(
            pieces=pieces,
            name=name_of(source) if ref is None else ref,
            size=size,
            expected=wanted,
            labels=kept,
            on_progress=on_progress,
        )

        async def writer() -> Writer:
            return await store.writer(
                name, size=pieces.size if size is None else size, expected=wanted, algorithm=algorithm
            )

        try:
            return await job.run(writer)
        except AlreadyExists as stored:
            info = await store.info(stored.digest)
            return PutResult(digest=info.digest, size=info.size, new=False)
        except BaseException:
            if ref is None:
                # CANCEL: nobody knows this ref, so nobody would resume it; the ingest goes, cancelled or not, unless the
                # server of a remote store is stuck.
                with anyio.move_on_after(_ABORT_SECONDS, shield=True), suppress(SteelyardError):
                    await store.abort(name)
            raise
