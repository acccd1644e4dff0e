"""A blob that fits into one message, together with the ref and the commit."""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

import anyio

from steelyard.containerd.remote._calls import GRACE, Limits, ask
from steelyard.containerd.remote._channel import Connection
from steelyard.containerd.remote._errors import About
from steelyard.containerd.remote._messages import method
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, DataCorrupt, SteelyardError, UnexpectedDigest, UnexpectedSize
from steelyard.hashing import digest_of
from steelyard.model import Labels, PutResult
from steelyard.options import PutOptions
from steelyard.transfer._small import Small

__all__ = ("AT_ONCE", "put_small")

AT_ONCE = 4 << 20
"""The largest blob that is sent in one message. A larger blob is faster with several messages in flight."""

_COMMIT = 2


async def put_small(
    connection: Connection,
    limits: Limits,
    source: Small,
    options: PutOptions,
) -> PutResult:
    """Store a small blob by one message; see `Store.put`. This side computes its digest, and the server compares it.

    Errors and cancellation are those of `Store.put`.
    """
    size, wanted = options.size, options.expected
    if size is not None and size != source.size:
        raise UnexpectedSize(expected=size, actual=source.size)
    digest = await digest_of(source.data, algorithm=options.algorithm if wanted is None else wanted.algorithm)
    if wanted is not None and digest != wanted:
        raise UnexpectedDigest(expected=wanted, actual=digest)
    options.report("write", source.name, source.size, source.size)
    new = await _commit(connection, limits, source, digest, options.labels)
    options.report("commit", source.name, source.size, source.size)
    return PutResult(digest=digest, size=source.size, new=new)


async def _commit(connection: Connection, limits: Limits, source: Small, digest: Digest, labels: Labels) -> bool:
    """Send the message, and return whether the blob was new."""
    ref = f"put-{uuid4().hex}"
    called = method("Content", "Write")
    request = {
        "action": _COMMIT,
        "ref": ref,
        "total": source.size,
        "expected": str(digest),
        "labels": dict(labels),
    }
    about = About(kind="ingest", name=ref, call="Write", expected=str(digest), size=source.size)
    try:
        answers = await ask(connection, called, request, about, limits, data=[source.data], grace=GRACE)
    except AlreadyExists:
        return False
    except BaseException:
        # CANCEL: no caller knows this ref, so no caller would resume the ingest. It is aborted, if it exists.
        with anyio.move_on_after(GRACE, shield=True), suppress(SteelyardError):
            await ask(connection, method("Content", "Abort"), {"ref": ref}, about, limits)
        raise
    found = answers[-1].digest if answers else "nothing"
    if found != str(digest):
        raise DataCorrupt(f"ingest {ref}", expected=digest, actual=found)
    return True
