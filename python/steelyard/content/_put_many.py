"""The end of `Store.put_many`, and of other calls for many sources: the errors of failed ones."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from typing import Any, Literal, TypeAlias

from steelyard.errors import InvalidArgument, LeaseEnded
from steelyard.model import PutManyResult

__all__ = ("Errors", "UntilEnded", "with_errors")

Errors: TypeAlias = Literal["raise", "yield"]

_MOST = 100
"""The most errors that are kept for the end: memory must not grow with the number of failed sources."""


def _shown_path(source: object) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else ""


def with_errors(
    results: AsyncGenerator[PutManyResult, None],
    errors: Errors,
    *,
    call: str = "put_many",
    thing: str = "source",
    shown: Callable[[Any], str] = _shown_path,
) -> AsyncGenerator[PutManyResult, None]:
    """Yield all results, or the successes only and raise the errors at the end; see `Store.put_many`.

    Args:
        results: the results.
        errors: which of the two.
        call: the call, for messages.
        thing: a source, for messages.
        shown: returns what messages say of a source, if anything.
    """
    if errors == "raise":
        return _RaisedAtEnd(results, call, thing, shown)
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

    def __init__(
        self, results: AsyncGenerator[PutManyResult, None], call: str, thing: str, shown: Callable[[Any], str]
    ) -> None:
        self._results = results
        self._call, self._thing, self._shown = call, thing, shown
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
                raise self._group(f", and then the iterable of {self._thing}s", error) from None
            raise
        if self._failed:
            raise self._group()
        raise StopAsyncIteration

    def _keep(self, one: PutManyResult, error: Exception) -> None:
        self._failed += 1
        if len(self._errors) < _MOST:
            shown = self._shown(one.source)
            error.add_note(f"{self._call}: {self._thing} {one.index}" + (f": {shown}" if shown else ""))
            self._errors.append(error)

    def _group(self, more: str = "", *last: Exception) -> ExceptionGroup[Exception]:
        left_out = f"; the first {_MOST} errors follow" if self._failed > _MOST else ""
        message = f"{self._call}: {self._failed} of {self._count} {self._thing}s failed{more}{left_out}"
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
