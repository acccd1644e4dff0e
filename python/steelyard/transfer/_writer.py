"""Opens a writer, and waits while another writer holds the ref."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from steelyard._runtime.opening import opening
from steelyard._runtime.refqueue import ref_queue
from steelyard.content import Ingester, Writer
from steelyard.digest import Algorithm, Digest
from steelyard.errors import Unavailable

__all__ = ("open_writer",)

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_SILENT_SECONDS = 1.0


@opening
async def open_writer(
    ingester: Ingester,
    ref: str,
    *,
    size: int | None = None,
    expected: Digest | str | None = None,
    algorithm: Algorithm | None = None,
    on_wait: Callable[[], object] | None = None,
) -> Writer:
    """Start or resume the ingest `ref` like `Ingester.writer`, but wait while another writer holds the ref.

    Tasks that wait for the same ref of the same store get it in the order of their calls. Each wakes, in its own event loop, when the
    ref is free. A holder in another process cannot wake a task, so the call tries again after pauses of 50 ms
    to 1 s. There is no time limit: use a cancel scope.

    Args:
        ingester: the store.
        ref: the name of the ingest.
        size: the announced size.
        expected: the announced digest.
        algorithm: the algorithm of `Writer.digest`.
        on_wait: called once if another writer still holds the ref after a second or two, for example to inform a person. Of several
            tasks that wait for the ref, only the first in the queue calls its function.

    Raises:
        AlreadyExists: `expected` is already stored, perhaps by the earlier writer of the ref.
        Unreachable: the server of a remote store does not answer.
        InvalidArgument, StorageError: as from `Ingester.writer`.

    Cancellation:
        Leaves the queue without an effect.
    """
    async with ref_queue(ingester).first(ref) as waiter:
        pause, late = _FIRST_PAUSE, anyio.current_time() + _SILENT_SECONDS
        while True:
            waiter.watch()
            try:
                return await ingester.writer(ref, size=size, expected=expected, algorithm=algorithm)
            except Unavailable as held:
                local = held.local
            if on_wait is not None and anyio.current_time() >= late:
                on_wait()
                on_wait = None
            # A local holder may end without a notification, if it is dropped instead of closed, or if asyncio cancels it despite the shield.
            with anyio.move_on_after(_LONGEST_PAUSE if local else pause):
                await waiter.wait_released()
            pause = pause if local else min(pause * 2, _LONGEST_PAUSE)
