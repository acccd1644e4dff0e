"""Runs a command to its end: in place, or in the event loop of `loop`.

A command that only reads a store on this machine's disk runs in place, without an event loop. It is a coroutine like
the others, but it never suspends: `Context.open_listing` and `Output` do not.
"""

from __future__ import annotations

import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

from steelyard.cli.context import Context
from steelyard.cli.exits import Exit
from steelyard.cli.running import LAST_SECONDS, SIGNALS, Command, Run
from steelyard.local.blocking import interruptible

__all__ = ("run",)

ResultT = TypeVar("ResultT")


def run(command: Command, context: Context, name: str) -> int:
    """Run a command to its end and return the exit code.

    SIGINT and SIGTERM cancel it, or call `Context.drain` if the command has set it. A second signal ends the process at
    once; the store then recovers as after a crash.
    """
    if context.has_loop:
        from steelyard.cli.loop import run_in_loop  # noqa: PLC0415 - anyio, which the others do not need

        return run_in_loop(Run(command, context, name))
    return int(_run_here(Run(command, context, name)))


class _Interrupted(BaseException):
    """A signal was received. Raised in the current step of the command."""


def _run_here(run: Run) -> Exit:
    def receive(number: int, _frame: FrameType | None) -> None:
        run.receive(number)
        raise _Interrupted

    before = {number: signal.signal(number, receive) for number in SIGNALS}
    try:
        try:
            interruptible(_completed, run.call())
        except _Interrupted:
            run.context.out.patience = LAST_SECONDS
        run.context.display.end()
        _completed(run.finish())
    except _Interrupted:
        pass  # while the results were finished
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return run.exit(interrupted=run.received is not None)


def _completed(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return the result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: ResultT = end.value
        return result
    coroutine.close()
    raise RuntimeError("a command without an event loop has waited")
