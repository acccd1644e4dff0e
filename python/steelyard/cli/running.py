"""One run of one command: its errors, its signals and its exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

from steelyard.cli import stdio
from steelyard.cli.context import Context
from steelyard.cli.exits import Exit
from steelyard.cli.explain import leaves

__all__ = ("LAST_SECONDS", "SIGNALS", "Command", "Run")

Command = Callable[[Context], Awaitable[None]]

SIGNALS = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}
LAST_SECONDS = 2.0
"""The seconds for which an interrupted command waits for the reader of its results."""


class Run:
    """One run of one command.

    Attributes:
        context: the command's context.
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
