"""Defaults of `LocalStore` and the blocking core, which do not load each other."""

from __future__ import annotations

from typing import Literal

__all__ = ("WRITE_BUFFER", "Durability")

Durability = Literal["power-loss", "process-crash"]
"""The failure that an acknowledged change survives: a power loss, or only the end of the process (no flush to the disk)."""

WRITE_BUFFER = 128 << 20
"""Half a MiB for each of 256 writers."""
