"""`Store.put`, built on the interfaces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar, cast
from uuid import uuid4

import anyio

from steelyard.content import Opening, Store, Writer
from steelyard.errors import AlreadyExists, SteelyardError, UnexpectedSize
from steelyard.model import PutResult, Source
from steelyard.options import PutOptions, name_of
from steelyard.transfer._ingest import Transfer
from steelyard.transfer._source import opened

__all__ = ("put", "put_source", "signature_of")

_ABORT_SECONDS = 2.0

ParamsT = ParamSpec("ParamsT")
ResultT = TypeVar("ResultT")


def signature_of(_: Callable[ParamsT, ResultT]) -> Callable[[Callable[..., ResultT]], Callable[ParamsT, ResultT]]:
    """Give a function the signature of a method, for type checkers, so that the signature is written only once."""
    return lambda function: cast("Callable[ParamsT, ResultT]", function)


@signature_of(Store.put)
async def put(store: Store, source: Source, **arguments: Any) -> PutResult:
    """Store a source through an ingest of its own. The other arguments are those of `Store.put`.

    With a `ref`, a source that can be positioned (bytes, a path, a seekable file) continues after the bytes in the
    ingest. Any other source is read from its start: its first bytes are compared with the ingest by their digest.
    If they differ, or the source is shorter than the ingest, the ingest is emptied and the source stored from its start.

    Raises:
        UnexpectedDigest: also if a source that can be read only once differs from the bytes in the ingest. The ingest is then empty, and
            the same call with a fresh source succeeds.
    """
    return await put_source(store, source, PutOptions.parse(**arguments))


async def put_source(store: Store, source: Source, options: PutOptions) -> PutResult:
    """Store a source through an ingest of its own; see `put`."""
    ref = f"put-{uuid4().hex}" if options.ref is None else options.ref
    async with opened(source) as pieces:
        if options.size is not None and pieces.size and pieces.size != options.size:
            raise UnexpectedSize(options.ref, expected=options.size, actual=pieces.size)
        transfer = Transfer(pieces=pieces, name=options.ref or name_of(source), options=options)

        def writer() -> Opening[Writer]:
            size = pieces.size if options.size is None else options.size
            return store.writer(ref, size=size, expected=options.expected, algorithm=options.algorithm)

        try:
            return await transfer.run(writer)
        except AlreadyExists as stored:
            info = await store.info(stored.digest)
            return PutResult(digest=info.digest, size=info.size, new=False)
        except BaseException:
            if options.ref is None:
                # CANCEL: no other caller knows this ref, so the ingest is discarded even if the task is cancelled, unless the server of
                # a remote store does not answer.
                with anyio.move_on_after(_ABORT_SECONDS, shield=True), suppress(SteelyardError):
                    await store.abort(ref)
            raise
