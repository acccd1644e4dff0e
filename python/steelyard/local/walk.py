"""Listing blobs: pages that the native core makes ready ahead of their reader."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from anyio.lowlevel import checkpoint

from steelyard import _native, filters
from steelyard._runtime.calls import run
from steelyard._runtime.fork import Process
from steelyard.local._rows import StatusRow, to_infos
from steelyard.model import Info

__all__ = ("statuses", "walk")


async def walk(
    core: Callable[[], _native.Store], *texts: str, unverified_before: int | None = None
) -> AsyncGenerator[Info, None]:
    """Iterate over matching blobs in the order of their digests; see `LocalStore.walk`.

    `core` gives the store, or refuses to, when the iteration begins.
    """
    process = Process()
    cursor, page = await run(_begin, core(), texts, unverified_before)
    while page:
        for info in to_infos(page):
            yield info
            if not process.is_current:
                process.check("walk")
        ready = cursor.ready()
        if ready is None:
            page = await run(cursor.next)
        else:
            page = ready
            await checkpoint()


def _begin(core: _native.Store, texts: tuple[str, ...], unverified_before: int | None) -> tuple[_native.Walk, bytes]:
    cursor = core.walk(filters.compile(*texts).native, unverified_before=unverified_before)
    return cursor, cursor.next()


def statuses(core: _native.Store, texts: tuple[str, ...]) -> list[StatusRow]:
    """Return the rows of the matching ingests. It blocks."""
    return core.statuses(filters.compile(*texts).native)
