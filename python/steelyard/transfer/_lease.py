"""`Store.lease`, built on the hooks of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from anyio import CancelScope

from steelyard._runtime.scopes import managed
from steelyard.content import Store
from steelyard.leases import check_expires, new_lease
from steelyard.model import Labels

__all__ = ("leased",)

StoreT = TypeVar("StoreT", bound=Store)


@managed
async def leased(
    store: StoreT,
    labels: Mapping[str, str] | None,
    expires: timedelta | None,
    end: Callable[[str], Awaitable[None]] | None = None,
) -> AsyncIterator[StoreT]:
    """Create a lease, yield the store with it, and end the lease; see `Store.lease`.

    Args:
        store: the store.
        labels: the labels of the lease.
        expires: a time after which the lease ends.
        end: ends the lease; None for the hook of the store.
    """
    end = store._end_lease if end is None else end  # noqa: SLF001  # a hook of the interface
    lease, given = new_lease(), Labels(labels)
    if expires is not None:
        check_expires(expires)
    try:
        await store._begin_lease(lease, given, expires)  # noqa: SLF001  # a hook of the interface
    except Exception:
        raise  # no lease was created
    except BaseException:
        # CANCEL: the lease may have been created. No other caller knows its ID, so it ends here.
        await _always(end, lease)
        raise
    try:
        yield store.with_lease(lease)
    finally:
        # CANCEL: shielded, because the lease would protect its blobs until the process ends.
        await _always(end, lease)


async def _always(end: Callable[[str], Awaitable[None]], lease: str) -> None:
    with CancelScope(shield=True):
        await end(lease)
