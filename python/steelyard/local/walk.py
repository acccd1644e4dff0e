"""Listing blobs, in pages. The native core prepares the next page while the caller uses the current one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from anyio.lowlevel import checkpoint

from steelyard._runtime.calls import run
from steelyard._runtime.fork import Process
from steelyard.local.blocking import BlobPages, BlockingStore
from steelyard.model import Info

__all__ = ("walk",)


async def walk(
    store: Callable[[], BlockingStore], *filters: str, unverified_before: int | None = None
) -> AsyncGenerator[Info, None]:
    """Iterate over the matching blobs; see `LocalStore.walk` and `BlockingStore.pages`.

    `store` is called when the iteration begins. It returns the store, or raises if the store is not open.
    """
    process = Process()
    pages, infos = await run(_first, store(), filters, unverified_before)
    while infos:
        for info in infos:
            yield info
            if not process.is_current:
                process.check("walk")
        ready = pages.ready()
        if ready is None:
            infos = await run(pages.next)
        else:
            infos = ready
            await checkpoint()


def _first(
    store: BlockingStore, filters: tuple[str, ...], unverified_before: int | None
) -> tuple[BlobPages, list[Info]]:
    pages = store.pages(*filters, unverified_before=unverified_before)
    return pages, pages.next()
