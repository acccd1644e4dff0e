"""The only shape of buffer that a store accepts: one-dimensional, contiguous, one-byte items."""

from __future__ import annotations

from steelyard.model import Buffer

__all__ = ("view",)


def view(data: Buffer) -> memoryview:
    """Return the caller's memory as unsigned bytes, without a copy.

    Raises:
        BufferError: it has another shape; a silent conversion would change what an offset means.
        TypeError: it is not a buffer.
    """
    found = memoryview(data)
    if found.ndim != 1 or found.itemsize != 1 or not found.c_contiguous:
        raise BufferError("expected a one-dimensional, contiguous buffer of one-byte items")
    return found if found.format == "B" else found.cast("B")
