"""Calls that open something: awaited, they return it; in an ``async with`` they also close it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from functools import partial, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from steelyard._runtime.backend import uninterrupted

if TYPE_CHECKING:
    from anyio.abc import AsyncResource

__all__ = ("Opener", "Opening", "opening")

ParamsT = ParamSpec("ParamsT")
ResourceT = TypeVar("ResourceT", bound="AsyncResource")
ResourceT_co = TypeVar("ResourceT_co", bound="AsyncResource", covariant=True)

_OPENINGS = {"blob_writer", "reader_at", "writer"}


class Opening(
    Coroutine[Any, Any, ResourceT_co], AbstractAsyncContextManager[ResourceT_co, None], Generic[ResourceT_co]
):
    """A call that opens a resource, for example `Ingester.writer`. Use it once, in one of two forms.

    ```python
    async with store.writer("ref") as writer:  # opens the writer here, and closes it at the end
        ...
    writer = await store.writer("ref")  # opens the writer here; the caller closes it
    ```

    Nothing is opened before that. A second use raises RuntimeError. An opening that is never used opens nothing, and a
    ResourceWarning reports it. It has the methods of a coroutine, so functions that start tasks accept it.
    """

    # On the class, because `__del__` is called even of an object whose `__init__` was interrupted.
    _name = "opening"
    _function: Callable[[], Coroutine[Any, Any, ResourceT_co]] | None = None
    _coroutine: Coroutine[Any, Any, ResourceT_co] | None = None

    def __init__(self, name: str, function: Callable[[], Coroutine[Any, Any, ResourceT_co]]) -> None:
        self._name = name
        self._function = function

    @uninterrupted
    def __await__(self) -> Generator[Any, Any, ResourceT_co]:
        """Open the resource."""
        return self._start().__await__()

    async def __aenter__(self) -> ResourceT_co:
        """Open the resource, and enter it."""
        self._resource = await self._start()
        return await self._resource.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the resource, which closes it."""
        await self._resource.__aexit__(kind, error, traceback)

    @uninterrupted
    def send(self, value: Any) -> Any:
        """Continue the call; see `collections.abc.Coroutine`."""
        if value is not None and self._coroutine is None:
            raise TypeError(self._unopened("send"))  # a writer also has `send`
        return (self._coroutine or self._start()).send(value)

    @uninterrupted
    def throw(self, *error: Any) -> Any:
        """Raise an error in the call; see `collections.abc.Coroutine`."""
        return (self._coroutine or self._start()).throw(*error)

    @uninterrupted
    def close(self) -> None:
        """Abandon the call; see `collections.abc.Coroutine`."""
        self._function = None
        if self._coroutine is not None:
            self._coroutine.close()

    @uninterrupted
    def _start(self) -> Coroutine[Any, Any, ResourceT_co]:
        function, self._function = self._function, None
        if function is None:
            raise RuntimeError(f"{self._name}: already awaited or entered; call it again to open another")
        self._coroutine = function()
        return self._coroutine

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(self._unopened(name), name=name)

    def _unopened(self, name: str) -> str:
        return f"{self._name} is not open yet, so it has no {name!r}: await it, or enter it with `async with`"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._name}>"

    def __del__(self) -> None:
        if self._function is not None:
            message = f"{self._name}: neither awaited nor entered, so nothing was opened"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)


def opening(function: Callable[ParamsT, Coroutine[Any, Any, ResourceT]]) -> Callable[ParamsT, Opening[ResourceT]]:
    """Make an ``async def`` that opens a resource return an `Opening`. Use it as a decorator of your store's `writer` and `reader_at`."""

    # On trio, Ctrl-C must not be raised between the call and the return of its result.
    @uninterrupted
    @wraps(function)
    def open_later(*args: ParamsT.args, **options: ParamsT.kwargs) -> Opening[ResourceT]:
        return Opening(function.__qualname__, partial(function, *args, **options))

    return open_later


class Opener:
    """An interface with calls that open something. If a subclass lacks the decorator, it is applied at run time."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Decorate the calls that are plain coroutine functions."""
        super().__init_subclass__(**options)
        for name in _OPENINGS & vars(cls).keys():
            if inspect.iscoroutinefunction(function := vars(cls)[name]):
                setattr(cls, name, opening(function))
