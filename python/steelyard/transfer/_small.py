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
    """Return the bytes of a source in memory, or of a regular file by its path, if it has at most `most` bytes; otherwise None.

    Raises:
        OSError: the file cannot be opened.
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
    """Return the digest of bytes. Fewer than 64 KiB are hashed in this thread, without a wait, because a hop takes longer."""
    if memoryview(data).nbytes >= _INLINE:
        return await digest_of(data, algorithm=algorithm)
    return digest_now(data, algorithm)


def digest_now(data: Buffer, algorithm: Algorithm) -> Digest:
    """Return the digest of bytes, computed in this thread."""
    hasher = Hasher(algorithm)
    hasher.update(data)
    return hasher.digest()


def read_small(path: Path, most: int) -> bytes | None:
    """Return the content of a regular file, or None if it has more than `most` bytes or is not a regular file."""
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
                return None  # the file is growing
        return b"".join(pieces)
