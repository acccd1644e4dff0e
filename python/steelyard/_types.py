"""Names for types that more than one module's signatures need."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from steelyard.model import Progress

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    from typing_extensions import Buffer

__all__ = ("Buffer", "OnProgress", "Source")

Source = Buffer | str | Path | BinaryIO | Iterable[Buffer] | AsyncIterable[Buffer]
"""What `Store.put` reads from.

* a bytes-like object: one-dimensional, contiguous, one-byte items; it must not change during the call
* a `str` or `pathlib.Path`: the path of a file
* a binary file: read from where it stands to its end, on worker threads
* an iterable or async iterable of bytes-like objects, an anyio byte stream among them
"""

OnProgress = Callable[[Progress], object]
"""Called in the event loop's thread, often for large blobs, at least once per phase. It must not block."""
