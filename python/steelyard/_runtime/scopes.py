"""Context managers that Ctrl-C does not leave half open: they are always closed, in order.

On trio, KeyboardInterrupt may be raised between any two steps of Python, even at the first step of an ``__aexit__``. A task
group or a generator that is left open there would outlive the scope around it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import Generic, ParamSpec, TypeVar

import anyio
from anyio import abc

from steelyard._runtime.backend import uninterrupted

__all__ = ("managed", "task_group")

ParamsT = ParamSpec("ParamsT")
ItemT_co = TypeVar("ItemT_co", covariant=True)


class _Scope(AbstractAsyncContextManager[ItemT_co], Generic[ItemT_co]):
    """A context manager that is entered and left in one step, as far as Ctrl-C on trio is concerned.

    Its methods are marked here, because a program may enter one before its first hop or `EventLoop` calls `backend.protect`.
    """

    def __init__(self, inner: AbstractAsyncContextManager[ItemT_co, bool | None]) -> None:
        self._inner = inner

    @uninterrupted
    async def __aenter__(self) -> ItemT_co:
        return await self._inner.__aenter__()

    @uninterrupted
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._inner.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # A caller that catches KeyboardInterrupt does not expect an exception group.
            interrupt: BaseException | None = group.subgroup(KeyboardInterrupt)
            while isinstance(interrupt, BaseExceptionGroup):
                interrupt = interrupt.exceptions[0]
            if interrupt is not None:
                raise interrupt from None
            raise


def managed(
    function: Callable[ParamsT, AsyncIterator[ItemT_co]],
) -> Callable[ParamsT, AbstractAsyncContextManager[ItemT_co, bool | None]]:
    """Make a context manager of an async generator, as `contextlib.asynccontextmanager` does."""
    make = asynccontextmanager(function)

    @wraps(function)
    def managed_scope(*args: ParamsT.args, **options: ParamsT.kwargs) -> _Scope[ItemT_co]:
        return _Scope(make(*args, **options))

    return managed_scope


class _TaskGroup(_Scope[abc.TaskGroup]):
    @uninterrupted
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await super().__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            first = next((each for each in group.exceptions if isinstance(each, Exception)), group.exceptions[0])
        if first is error:
            return False
        try:
            raise first
        finally:
            del first  # its traceback refers to this frame


def task_group() -> AbstractAsyncContextManager[abc.TaskGroup, bool | None]:
    """Return anyio's task group, but with one difference: it raises the first failure itself, not an exception group.

    The first failure cancels the other tasks. KeyboardInterrupt takes precedence over other failures.
    """
    return _TaskGroup(anyio.create_task_group())
