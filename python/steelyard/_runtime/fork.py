"""Forks: open objects refuse to work in a child process.

The native core closes its descriptors in a child and refuses calls (`rust/core/src/sys/fork.rs`). This module does the same
for the objects of Python around it, which would otherwise wait for tasks, threads and event loops that the child lacks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, NoReturn, Self

from steelyard._native import Process
from steelyard._runtime.backend import uninterrupted

__all__ = ("UNBOUND", "Process", "ProcessBound", "Unbound")

_ENDS = {"aclose", "cancel_soon", "close", "__aexit__", "__exit__"}
"""The methods that close an object. In a child they do nothing: the open resources belong to the parent."""

_SPECIAL = {"__aenter__", "__enter__", "__aiter__", "__anext__", "__iter__", "__next__"} | _ENDS


class Unbound:
    """Used in place of `Process` for an object that is not open, which every process can use."""

    is_current = True

    def check(self, name: str, /) -> None:
        """Refuse nothing."""


UNBOUND = Unbound()


class ProcessBound:
    """An open object that only the process that made it can use. Inherit from it, as the first base class.

    Every public method of a subclass, its own or inherited, raises FailedPrecondition in a child, before it checks its
    arguments. Methods that close the object do nothing there. Attributes stay readable. The object cannot be pickled.
    """

    _process: Process | Unbound

    def __new__(cls, *args: object, **options: object) -> Self:
        """Record the process in which the object is made."""
        del args, options
        made = super().__new__(cls)
        made._process = Process()
        return made

    def __init_subclass__(cls, **options: Any) -> None:
        """Have every public method refuse to work in a child."""
        super().__init_subclass__(**options)
        for name in dir(cls):
            method = inspect.getattr_static(cls, name)
            if isinstance(method, FunctionType) and _is_public(name) and not hasattr(method, "_is_bound"):
                setattr(cls, name, _bound(name, method))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse to be pickled: another process has to open its own."""
        raise TypeError(f"cannot pickle {type(self).__name__!r}: it is open in this process; open another one there")


def _is_public(name: str) -> bool:
    return name in _SPECIAL or not name.startswith("_")


def _bound(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    is_async = inspect.iscoroutinefunction(method)

    # Otherwise Ctrl-C in the first step would skip the method, and the object would stay open.
    # The coroutine that the method returns is not protected by this mark.
    @uninterrupted
    @wraps(method)
    def bound(self: ProcessBound, *args: Any, **options: Any) -> Any:
        process = self._process
        if not process.is_current:
            if name in _ENDS:
                return _nothing() if is_async else None
            process.check(type(self).__name__)
        return method(self, *args, **options)

    bound._is_bound = True  # type: ignore[attr-defined]  # noqa: SLF001  # so that a subclass does not do it again
    mark = getattr(inspect, "markcoroutinefunction", None)  # Python 3.12
    if mark is not None and is_async:
        mark(bound)
    return bound


async def _nothing() -> None:
    pass
