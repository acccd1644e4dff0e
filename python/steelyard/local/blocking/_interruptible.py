"""Calls in the main thread that a signal can interrupt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from steelyard import _native

__all__ = ("interruptible",)

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")


def interruptible(function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
    """Call a function in the main thread.

    A call of the store may wait for another process, and Python calls signal handlers only between its own steps. Within
    this function they are called during such a wait, too: an exception that one of them raises ends the wait.
    """
    return _native.call_interruptibly(function, *args)
