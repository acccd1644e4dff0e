"""The run of a command in an event loop: signals, progress, and output while the command waits."""

from __future__ import annotations

import importlib.util
import os

import anyio

from steelyard.cli import stdio
from steelyard.cli.context import Context
from steelyard.cli.exits import Exit
from steelyard.cli.explain import UsageError
from steelyard.cli.running import LAST_SECONDS, SIGNALS, Run

__all__ = ("run_in_loop",)

_TICK_SECONDS = 0.1


def run_in_loop(run: Run) -> int:
    """Run a command to its end and return the exit code; see `run.run`."""
    context = run.context
    backend = context.settings.backend_name
    if backend == "trio" and importlib.util.find_spec("trio") is None:
        context.fail(UsageError("backend trio: the package trio is not installed", next_step="pip install trio"))
        return int(Exit.USAGE)
    _check_descriptors()
    return int(anyio.run(_supervise, run, backend=backend))


def _check_descriptors() -> None:
    """Raise OSError if the process may not open the files of an event loop: asyncio would also print a traceback of its own."""
    opened: list[int] = []
    try:
        for _ in range(2):
            opened += os.pipe()
    finally:
        for descriptor in opened:
            os.close(descriptor)


async def _supervise(run: Run) -> Exit:
    """Run the command, and at the same time handle signals and update the display."""
    async with anyio.create_task_group() as background:
        scope = anyio.CancelScope()
        await background.start(_watch_signals, run, scope)
        background.start_soon(_tick, run.context)
        with scope:
            await run.call()
        interrupted = scope.cancelled_caught and run.received is not None
        run.context.display.end()
        # Print the result even after Ctrl-C, but do not wait for a full pipe.
        with anyio.move_on_after(LAST_SECONDS, shield=True):
            await run.finish()
        background.cancel_scope.cancel()
    return run.exit(interrupted=interrupted)


async def _watch_signals(run: Run, scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        async for number in signals:
            run.receive(number)
            if run.context.drain is None:
                scope.cancel()
            else:
                run.context.drain()


async def _tick(context: Context) -> None:
    """Update the progress and write finished lines, also while the command waits."""
    while True:
        await anyio.sleep(_TICK_SECONDS)
        context.display.tick()
        try:
            await context.out.flush()
        except (stdio.OutputClosed, OSError):
            return  # the command gets the same error from its next flush, and reports it
