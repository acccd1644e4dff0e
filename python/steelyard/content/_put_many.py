"""The end of `Store.put_many` under a lease that has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from steelyard.errors import LeaseEnded
from steelyard.model import PutManyResult

__all__ = ("UntilEnded",)


class UntilEnded(AsyncGenerator[PutManyResult, None]):
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

    async def asend(self, value: None) -> PutManyResult:
        """Return the next result; the value is not used."""
        del value
        return await self.__anext__()

    async def athrow(self, *error: Any) -> PutManyResult:
        """Stop, and raise the error in the consumer."""
        await self.aclose()
        raise error[-1] if isinstance(error[-1], BaseException) else error[0]

    async def aclose(self) -> None:
        """Stop."""
        await self._results.aclose()
