"""The size of the pieces in which blobs are read."""

from __future__ import annotations

__all__ = ("READ_BYTES",)

READ_BYTES = 1 << 20
"""The most bytes of a blob or an archive that are read or written in one call."""
