"""Filters in an event loop: slow work runs on a thread, with the GIL released."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress
from typing import TypeVar

from anyio.lowlevel import checkpoint

from steelyard._runtime.calls import run
from steelyard._runtime.chunks import slices
from steelyard.filters import Fields, Filter

__all__ = ("AT_ONCE", "choose", "compiled")

ValueT = TypeVar("ValueT")

AT_ONCE = 64
"""Things that are looked at without a checkpoint."""

_SLOW = 16
"""The same on a thread: a match with the worst expression takes up to 0.1 s and cannot be cancelled."""


async def compiled(texts: Sequence[str]) -> Filter:
    """Return the compiled filters.

    Raises:
        InvalidFilter: a filter does not parse, or the list exceeds a limit.
    """
    if not texts:
        await checkpoint()
        return Filter()
    return await run(partial(Filter, *texts))


async def choose(filter_: Filter, things: Sequence[ValueT], fields: Callable[[ValueT], Fields]) -> list[ValueT]:
    """Return the things that match, in their order."""
    found: list[ValueT] = []
    native = filter_.native
    most = _SLOW if native.has_expressions else AT_ONCE
    for some in slices(things, most):
        if native.has_expressions:
            found += compress(some, await run(native.choose, [fields(thing) for thing in some]))
        else:
            found += (thing for thing in some if filter_.matches(fields(thing)))
            await checkpoint()
    return found
