"""Errors at the end of `Store.put_many`, `Store.update_many` and `Store.delete_many`."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from steelyard._runtime.iteration import Iteration
from steelyard.content._failures import Failures
from steelyard.errors import InvalidArgument
from steelyard.model import DeleteManyResult, Info, PutManyResult, UpdateManyResult

__all__ = ("Errors", "of_blobs", "of_items", "of_sources")

Errors: TypeAlias = Literal["raise", "yield"]


class _Result(Protocol):
    @property
    def error(self) -> Exception | None: ...


ResultT = TypeVar("ResultT", bound=_Result)
ChangedT = TypeVar("ChangedT", UpdateManyResult, DeleteManyResult)


def of_sources(results: AsyncGenerator[PutManyResult, None], errors: Errors) -> AsyncGenerator[PutManyResult, None]:
    """Yield all results, or the successes only and raise the errors at the end; see `Store.put_many`."""

    def name(one: PutManyResult) -> str:
        path = f": {os.fspath(one.source)}" if isinstance(one.source, str | os.PathLike) else ""
        return f"source {one.index}{path}"

    return _with_errors(results, errors, "put_many", "sources", name)


def of_items(
    results: AsyncGenerator[PutManyResult, None], errors: Errors, call: str, shown: Callable[[Any], str]
) -> AsyncGenerator[PutManyResult, None]:
    """Yield all results of `call`, or the successes only and raise the errors at the end; `shown` returns an item as readable text."""
    return _with_errors(results, errors, call, "items", lambda one: f"item {one.index}: {shown(one.source)}")


def of_blobs(results: AsyncGenerator[ChangedT, None], errors: Errors, call: str) -> AsyncGenerator[ChangedT, None]:
    """Yield all results of `call`, or the successes only and raise the errors at the end; see `Store.update_many`."""

    def name(one: ChangedT) -> str:
        return f"blob {one.index}: {one.blob.digest if isinstance(one.blob, Info) else one.blob}"

    return _with_errors(results, errors, call, "blobs", name)


def _with_errors(
    results: AsyncGenerator[ResultT, None], errors: Errors, call: str, things: str, name: Callable[[ResultT], str]
) -> AsyncGenerator[ResultT, None]:
    if errors == "raise":
        return _RaisedAtEnd(results, call, things, name)
    if errors == "yield":
        return results
    raise InvalidArgument(f"errors: expected 'raise' or 'yield', found {errors!r}")


class _RaisedAtEnd(Iteration[ResultT], Generic[ResultT]):
    """Yields the results that are successes. It is not a generator: dropping it also drops `results`, which ends their work."""

    def __init__(
        self, results: AsyncGenerator[ResultT, None], call: str, things: str, name: Callable[[ResultT], str]
    ) -> None:
        self._results = results
        self._call, self._things, self._name = call, things, name
        self._count = 0
        self._failures = Failures()

    async def __anext__(self) -> ResultT:
        """Return the next success; at the end, raise the errors."""
        try:
            async for one in self._results:
                self._count += 1
                if one.error is None:
                    return one
                self._failures.add(one.error, f"{self._call}: {self._name(one)}")
        except Exception as error:
            if self._failures.count:
                # The iterable failed, too. A caller must get both its error and those of the failed things.
                raise self._group(f", and then the iterable of {self._things}", error) from None
            raise
        if self._failures.count:
            raise self._group()
        raise StopAsyncIteration

    def _group(self, more: str = "", *last: Exception) -> ExceptionGroup[Exception]:
        failures, self._failures = self._failures, Failures()
        return failures.group(f"{self._call}: {failures.count} of {self._count} {self._things} failed{more}", *last)

    async def aclose(self) -> None:
        """Stop. The errors so far are not raised."""
        self._failures = Failures()
        await self._results.aclose()
