"""Names for types that more than one module's signatures need."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from steelyard.model import Progress

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    from typing_extensions import Buffer

__all__ = ("Buffer", "FileRange", "OnProgress", "Source")


class FileRange(msgspec.Struct, frozen=True, gc=False):
    """A part of a file, as a source: one entry of an archive, for example.

    Attributes:
        file: a descriptor that can be read at any offset. It stays the caller's; its position is neither used nor changed.
        offset: the first byte.
        size: how many bytes. A file that ends before them raises `OutOfRange` when it is read.
    """

    file: int
    offset: int
    size: int


Source = Buffer | str | Path | BinaryIO | FileRange | Iterable[Buffer] | AsyncIterable[Buffer]
"""What `Store.put` reads from.

* a bytes-like object: one-dimensional, contiguous, one-byte items; it must not change during the call
* a `str` or `pathlib.Path`: the path of a file
* a binary file: read from where it stands to its end, on worker threads
* a `FileRange`: a part of a file
* an iterable or async iterable of bytes-like objects, an anyio byte stream among them
"""

OnProgress = Callable[[Progress], object]
"""Called in the event loop's thread, often for large blobs, at least once per phase. It must not block."""
