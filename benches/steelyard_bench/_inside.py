"""What the benchmark uses of the library's inside, in one place: some rows measure the inside, and runs need its threads."""

from __future__ import annotations

from steelyard._native import __version__, debug_build
from steelyard._runtime.backend import on_asyncio
from steelyard._runtime.calls import run
from steelyard._runtime.threads import Pool, start
from steelyard.cli.mounts import Mount, mount_of

__all__ = ("Mount", "Pool", "__version__", "debug_build", "mount_of", "on_asyncio", "run", "start")
