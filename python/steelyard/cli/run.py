"""The run of a command: event loop, signals and exit code."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Awaitable, Callable

import anyio

from steelyard.cli import stdio
from steelyard.cli.context import Context
from steelyard.cli.exits import Exit
from steelyard.cli.explain import UsageError, leaves

__all__ = ("Command", "run")

Command = Callable[[Context], Awaitable[None]]

_TICK_SECONDS = 0.1
_SIGNALS = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


def run(command: Command, context: Context, name: str) -> int:
    """Run a command to its end and return the exit code.

    SIGINT and SIGTERM cancel it, or ask it to end if it has said how (`Context.drain`); a second one ends the process at once, and then the store recovers as after a crash.
    """
    backend = context.settings.backend_name
    if backend == "trio" and importlib.util.find_spec("trio") is None:
        context.fail(UsageError("backend trio: the package trio is not installed", next_step="pip install trio"))
        return int(Exit.USAGE)
    _check_descriptors()
    return int(anyio.run(_supervise, command, context, name, backend=backend))


def _check_descriptors() -> None:
    """Raise OSError if the process may not open the files of an event loop: asyncio would also print a traceback of its own."""
    opened: list[int] = []
    try:
        for _ in range(2):
            opened += os.pipe()
    finally:
        for descriptor in opened:
            os.close(descriptor)


async def _supervise(command: Command, context: Context, name: str) -> Exit:
    """Run the command beside the signal handler and the updates of the display."""
    received: list[signal.Signals] = []
    reported: list[BaseException] = []
    closed = False
    async with anyio.create_task_group() as background:
        scope = anyio.CancelScope()
        await background.start(_watch_signals, context, scope, received)
        background.start_soon(_tick, context)
        with scope:
            try:
                await command(context)
            except Exception as error:  # noqa: BLE001 - every error ends here and is reported
                reported = list(leaves(error))
                closed = any(isinstance(leaf, stdio.OutputClosed) for leaf in reported)
                if not closed:
                    context.fail(error)
        interrupted = scope.cancelled_caught and bool(received)
        context.display.end()
        # Print the result even after Ctrl-C, but do not hang on a full pipe.
        with anyio.move_on_after(2, shield=True):
            try:
                if not closed:
                    await _finish(context, name)
            except stdio.OutputClosed:
                closed = True
            except OSError as error:
                if error not in reported:  # a failed write is raised by each later flush
                    context.fail(error)
        background.cancel_scope.cancel()
    if interrupted:
        _say_interrupted(context, received[0])
        return _SIGNALS[received[0]]
    if not closed:
        context.say_conclusion()
    return Exit.BROKEN_PIPE if closed else context.exit_code()


async def _finish(context: Context, name: str) -> None:
    if context.out.plural:
        await context.out.finish(name, context.counts)
    elif context.failures and context.out.shape != "text":
        await context.out.finish_failed()
    else:
        await context.out.flush()


def _say_interrupted(context: Context, number: signal.Signals) -> None:
    context.say("interrupted" if number is signal.SIGINT else "ended by SIGTERM")
    for line in context.interrupt_lines:
        context.say(line)


async def _watch_signals(
    context: Context,
    scope: anyio.CancelScope,
    received: list[signal.Signals],
    *,
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    with anyio.open_signal_receiver(*_SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            if received:
                os._exit(_SIGNALS[number])
            received.append(number)
            if context.drain is None:
                scope.cancel()
            else:
                context.drain()


async def _tick(context: Context) -> None:
    """Update the progress and write finished lines, also while the command waits."""
    while True:
        await anyio.sleep(_TICK_SECONDS)
        context.display.tick()
        try:
            await context.out.flush()
        except (stdio.OutputClosed, OSError):
            return  # the command gets the same error from its next flush, and reports it
