"""All private parts of the library that the benchmark uses: some rows measure them, and runs need the library's threads."""

from __future__ import annotations

from steelyard._native import __version__, debug_build
from steelyard._runtime.backend import on_asyncio
from steelyard._runtime.calls import run
from steelyard._runtime.threads import Pool, start
from steelyard.cli.mounts import Mount, mount_of
from steelyard.local._defaults import Durability
from steelyard.local.blocking import BlockingStore, OpenOptions
from steelyard.local.blocking._collect import BlockingCollection

__all__ = (
    "BlockingCollection",
    "BlockingStore",
    "Durability",
    "Mount",
    "OpenOptions",
    "Pool",
    "__version__",
    "debug_build",
    "mount_of",
    "on_asyncio",
    "run",
    "start",
)
