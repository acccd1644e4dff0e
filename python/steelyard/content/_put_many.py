"""The end of `Store.put_many`: the errors of failed sources."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Any, Literal, TypeAlias

from steelyard.errors import InvalidArgument, LeaseEnded
from steelyard.model import PutManyResult

__all__ = ("Errors", "UntilEnded", "with_errors")

Errors: TypeAlias = Literal["raise", "yield"]

_MOST = 100
"""The most errors that are kept for the end: memory must not grow with the number of failed sources."""


def with_errors(results: AsyncGenerator[PutManyResult, None], errors: Errors) -> AsyncGenerator[PutManyResult, None]:
    """Yield all results, or the successes only and raise the errors at the end; see `Store.put_many`."""
    if errors == "raise":
        return _RaisedAtEnd(results)
    if errors == "yield":
        return results
    raise InvalidArgument(f"errors: expected 'raise' or 'yield', found {errors!r}")


class UntilEnded(AsyncGenerator[PutManyResult, None]):
    """Yields the results of a `put_many` under a lease, and raises `LeaseEnded` once, not for each source that is left.

    It is no generator, as `_RaisedAtEnd`.
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


class _RaisedAtEnd(AsyncGenerator[PutManyResult, None]):
    """Yields the results of a `put_many` that succeeded. It is not a generator: dropping it drops `results`, which end their work."""

    def __init__(self, results: AsyncGenerator[PutManyResult, None]) -> None:
        self._results = results
        self._count = self._failed = 0
        self._errors: list[Exception] = []

    async def __anext__(self) -> PutManyResult:
        """Return the next success; at the end, raise the errors."""
        try:
            async for one in self._results:
                self._count += 1
                if one.error is None:
                    return one
                self._keep(one, one.error)
        except Exception as error:
            if self._failed:
                # The iterable of sources failed, too. A caller that handles one must not lose the other.
                raise self._group(", and then the iterable of sources", error) from None
            raise
        if self._failed:
            raise self._group()
        raise StopAsyncIteration

    def _keep(self, one: PutManyResult, error: Exception) -> None:
        self._failed += 1
        if len(self._errors) < _MOST:
            path = f": {os.fspath(one.source)}" if isinstance(one.source, str | os.PathLike) else ""
            error.add_note(f"put_many: source {one.index}{path}")
            self._errors.append(error)

    def _group(self, more: str = "", *last: Exception) -> ExceptionGroup[Exception]:
        left_out = f"; the first {_MOST} errors follow" if self._failed > _MOST else ""
        message = f"put_many: {self._failed} of {self._count} sources failed{more}{left_out}"
        group = ExceptionGroup(message, [*self._errors, *last])
        self._errors, self._failed = [], 0
        return group

    async def asend(self, value: None) -> PutManyResult:
        """Return the next success; the value is not used."""
        del value
        return await self.__anext__()

    async def athrow(self, *error: Any) -> PutManyResult:
        """Stop, and raise the error in the consumer."""
        await self.aclose()
        raise error[-1] if isinstance(error[-1], BaseException) else error[0]

    async def aclose(self) -> None:
        """Stop. Errors so far are not raised."""
        self._failed = 0
        await self._results.aclose()
