"""The run of a command: its errors, its signals, its end and its exit code.

A command that only looks at a store on this machine's disk runs in place, without an event loop. It is a coroutine like
the others, but it never suspends: `Context.open_listing` and `Output` do not. Others run in the event loop of `loop`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from steelyard.cli import stdio
from steelyard.cli.context import Context
from steelyard.cli.exits import Exit
from steelyard.cli.explain import leaves
from steelyard.local.blocking import interruptible

__all__ = ("SIGNALS", "Command", "Run", "run")

Command = Callable[[Context], Awaitable[None]]
ResultT = TypeVar("ResultT")

SIGNALS = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}
LAST_SECONDS = 2.0
"""How long an interrupted command waits for the reader of its results."""


def run(command: Command, context: Context, name: str) -> int:
    """Run a command to its end and return the exit code.

    SIGINT and SIGTERM cancel it, or ask it to end if it has said how (`Context.drain`); a second one ends the process at once, and then the store recovers as after a crash.
    """
    if context.has_loop:
        from steelyard.cli.loop import run_in_loop  # noqa: PLC0415 - anyio, which the others do not need

        return run_in_loop(Run(command, context, name))
    return int(_run_here(Run(command, context, name)))


class Run:
    """One run of one command.

    Attributes:
        context: what the command is given.
        received: the first signal, if there was one.
    """

    def __init__(self, command: Command, context: Context, name: str) -> None:
        self.context = context
        self.received: signal.Signals | None = None
        self._command = command
        self._name = name
        self._reported: list[BaseException] = []
        self._closed = False

    def receive(self, number: int) -> None:
        """Note a signal; a second one ends the process."""
        if self.received is not None:
            os._exit(SIGNALS[signal.Signals(number)])
        self.received = signal.Signals(number)

    async def call(self) -> None:
        """Call the command, and report its errors."""
        try:
            await self._command(self.context)
        except Exception as error:  # noqa: BLE001 - every error ends here and is reported
            self._reported = list(leaves(error))
            self._closed = any(isinstance(leaf, stdio.OutputClosed) for leaf in self._reported)
            if not self._closed:
                self.context.fail(error)

    async def finish(self) -> None:
        """Print the end of the results."""
        context = self.context
        if self._closed:
            return
        try:
            if context.out.plural:
                await context.out.finish(self._name, context.counts)
            elif context.failures and context.out.shape != "text":
                await context.out.finish_failed()
            else:
                await context.out.flush()
        except stdio.OutputClosed:
            self._closed = True
        except OSError as error:
            if error not in self._reported:  # a failed write is raised by each later flush
                context.fail(error)

    def exit(self, *, interrupted: bool) -> Exit:
        """Print the last notices and return the exit code."""
        if interrupted and self.received is not None:
            self.context.say("interrupted" if self.received is signal.SIGINT else "ended by SIGTERM")
            for line in self.context.interrupt_lines:
                self.context.say(line)
            return SIGNALS[self.received]
        if self._closed:
            return Exit.BROKEN_PIPE
        self.context.say_conclusion()
        return self.context.exit_code()


class _Interrupted(BaseException):
    """A signal came; raised in the step of the command that it met."""


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
