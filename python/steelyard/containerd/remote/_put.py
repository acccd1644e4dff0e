"""A blob that fits into one message: the ref, all bytes and the commit go together."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import anyio

from steelyard._runtime.buffers import view
from steelyard._runtime.calls import run
from steelyard.containerd.remote._calls import GRACE, Limits, collect
from steelyard.containerd.remote._channel import Connection, method
from steelyard.containerd.remote._errors import About
from steelyard.containerd.remote._wire import Data
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, DataCorrupt, SteelyardError, UnexpectedDigest, UnexpectedSize
from steelyard.hashing import digest_of
from steelyard.model import Buffer, FileRange, Labels, PutResult, Source
from steelyard.options import PutOptions, name_of, path_error

__all__ = ("Small", "put_small", "small")

_AT_ONCE = 4 << 20
"""The largest blob that goes in one message; a larger one is worth several in flight."""

_COMMIT = 2


class Small:
    """The bytes of a source that fits into one message, and what it is called."""

    def __init__(self, data: Buffer, name: str) -> None:
        self.data = data
        self.name = name
        self.size = memoryview(data).nbytes


async def small(source: Source) -> Small | None:
    """Return the source, if it is in memory or a file on disk, and small.

    Raises:
        OSError: the file does not open.
    """
    if isinstance(source, str | os.PathLike):
        try:
            content = await run(_read, Path(source))
        except (OSError, ValueError) as error:
            raise path_error(source, error) from None
        return None if content is None else Small(content, name_of(source))
    if isinstance(source, FileRange):
        return None
    try:
        data = view(cast("Buffer", source))
    except TypeError:
        return None
    if data.nbytes > _AT_ONCE:
        return None
    return Small(source if type(source) is bytes else data, name_of(source))


async def put_small(
    connection: Connection,
    limits: Limits,
    source: Small,
    options: PutOptions,
) -> PutResult:
    """Store a small blob by one message; see `Store.put`. Its digest is computed here and compared by the server.

    Raises and Cancellation are those of `Store.put`.
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
    message = called.request(action=_COMMIT, ref=ref, total=source.size, expected=str(digest), labels=dict(labels))
    request = Data(message, (source.data,), source.size)
    about = About(kind="ingest", name=ref, call="Write", expected=str(digest), size=source.size)
    try:
        answers = await collect(connection, called, request, about, limits, consume=_all, grace=GRACE)
    except AlreadyExists:
        return False
    except BaseException:
        # CANCEL: no caller knows this ref, so none would resume it; the ingest is aborted, if there is one.
        with anyio.move_on_after(GRACE, shield=True), suppress(SteelyardError):
            abort = method("Content", "Abort")
            await collect(connection, abort, abort.request(ref=ref), about, limits, consume=_all)
        raise
    found = answers[-1].digest if answers else "nothing"
    if found != str(digest):
        raise DataCorrupt(f"ingest {ref}", expected=digest, actual=found)
    return True


def _all(answers: Iterator[Any]) -> list[Any]:
    return list(answers)


def _read(path: Path) -> bytes | None:
    """Return the content of a small regular file, or None."""
    with path.open("rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size > _AT_ONCE:
            return None
        pieces = []
        while piece := file.read(_AT_ONCE + 1):
            pieces.append(piece)
            if sum(map(len, pieces)) > _AT_ONCE:
                return None  # it grows
        return b"".join(pieces)
