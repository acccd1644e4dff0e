"""A source whose bytes fit in memory, for stores that send a whole blob at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from steelyard._runtime.buffers import view
from steelyard._runtime.calls import run
from steelyard._runtime.files import open_regular
from steelyard.digest import Algorithm, Digest
from steelyard.hashing import Hasher, digest_of
from steelyard.model import Buffer, FileRange, Source
from steelyard.options import name_of, path_error

__all__ = ("Small", "digest_now", "digest_small", "read_small", "small")

_INLINE = 64 << 10


class Small:
    """The bytes of a source that fits in memory.

    Attributes:
        data: the bytes.
        name: its name in progress reports.
        size: its size, in bytes.
    """

    def __init__(self, data: Buffer, name: str) -> None:
        self.data = data
        self.name = name
        self.size = memoryview(data).nbytes


async def small(source: Source, *, most: int) -> Small | None:
    """Return the source, if it is in memory or a file on disk, and has at most `most` bytes.

    Raises:
        OSError: the file does not open.
    """
    if isinstance(source, str | os.PathLike):
        try:
            content = await run(read_small, Path(source), most)
        except (OSError, ValueError) as error:
            raise path_error(source, error) from None
        return None if content is None else Small(content, name_of(source))
    if isinstance(source, FileRange):
        return None
    try:
        data = view(cast("Buffer", source))
    except TypeError:
        return None
    if data.nbytes > most:
        return None
    return Small(source if type(source) is bytes else data, name_of(source))


async def digest_small(data: Buffer, algorithm: Algorithm) -> Digest:
    """Return the digest of bytes; fewer than 64 KiB are hashed at once, without a step of the event loop, which would take longer."""
    if memoryview(data).nbytes >= _INLINE:
        return await digest_of(data, algorithm=algorithm)
    return digest_now(data, algorithm)


def digest_now(data: Buffer, algorithm: Algorithm) -> Digest:
    """Return the digest of bytes, computed in this thread."""
    hasher = Hasher(algorithm)
    hasher.update(data)
    return hasher.digest()


def read_small(path: Path, most: int) -> bytes | None:
    """Return the content of a small regular file, or None."""
    file = open_regular(path)
    if file is None:
        return None
    with file:
        if os.fstat(file.fileno()).st_size > most:
            return None
        pieces = []
        while piece := file.read(most + 1):
            pieces.append(piece)
            if sum(map(len, pieces)) > most:
                return None  # it grows
        return b"".join(pieces)
