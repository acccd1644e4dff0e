"""The end of `Store.put_many` under a lease that has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from steelyard._runtime.iteration import Iteration
from steelyard.errors import LeaseEnded
from steelyard.model import PutManyResult

__all__ = ("UntilEnded",)


class UntilEnded(Iteration[PutManyResult]):
    """Yields the results of a `put_many` under a lease, and raises `LeaseEnded` once, not for each source that is left.

    Like `_RaisedAtEnd`, it is not a generator.
    """

    def __init__(self, results: AsyncGenerator[PutManyResult, None]) -> None:
        self._results = results

    async def __anext__(self) -> PutManyResult:
        """Return the next result."""
        async for one in self._results:
            if isinstance(one.error, LeaseEnded):
                error = one.error
                await self._results.aclose()
                raise error
            return one
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop."""
        await self._results.aclose()
