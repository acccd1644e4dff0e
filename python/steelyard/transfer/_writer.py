"""Opening a writer, waiting while another one holds the ref."""

from __future__ import annotations

import anyio

from steelyard._runtime.refqueue import ref_queue
from steelyard.content import Ingester, Writer
from steelyard.digest import Algorithm, Digest
from steelyard.errors import Unavailable, Unreachable

__all__ = ("open_writer",)

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


async def open_writer(
    ingester: Ingester,
    ref: str,
    *,
    size: int | None = None,
    expected: Digest | str | None = None,
    algorithm: Algorithm | None = None,
) -> Writer:
    """Begin or resume the ingest `ref` as `Ingester.writer` does, but wait while another writer holds it.

    The tasks that wait for a ref of the same store get it in the order in which they came, and wake when it is freed,
    each in its own event loop. A holder in another process can't wake us; the store is asked again after pauses of 50 ms
    to 1 s.
    There is no limit of time: put the call into a cancel scope.

    Raises:
        AlreadyExists: `expected` is stored already, perhaps by the writer that was waited for.
        Unreachable: the server of a remote store does not answer.
        InvalidArgument, StorageError: as from `Ingester.writer`.

    Cancellation:
        Leaves the queue without an effect.
    """
    async with ref_queue(ingester).first(ref) as waiter:
        pause = _FIRST_PAUSE
        while True:
            waiter.watch()
            try:
                return await ingester.writer(ref, size=size, expected=expected, algorithm=algorithm)
            except Unreachable:
                raise  # nobody holds the ref; what to do about a server that is not there is the caller's to say
            except Unavailable as held:
                local = held.local
            # Even a local holder may end unheard: dropped instead of closed, or cancelled by asyncio past our shields.
            with anyio.move_on_after(_LONGEST_PAUSE if local else pause):
                await waiter.wait_released()
            pause = pause if local else min(pause * 2, _LONGEST_PAUSE)
