"""Ctrl-C at chosen steps of the package's Python code, for programs that interrupt themselves."""

from __future__ import annotations

import _thread
import inspect
import signal
import sys
import traceback
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import steelyard
from steelyard._runtime import backend

PACKAGE = str(Path(steelyard.__file__).parent)
HANG_SECONDS = 30
"""How long an interrupted run may take; a hang is told by it, and nothing else."""

MOST_WITHOUT = 50
"""The most instructions of the package from one at which Python looks for signals to the next."""

Instruction = tuple[CodeType, int]

PLACE: list[str] = []
"""Where the last interruption came: the innermost frames."""


class Place:
    """Says where it was when something fails."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is not None:
            print("failed:", self.place, *PLACE, sep="\n  ", file=sys.stderr, flush=True)


class Steps:
    """Sends SIGINT before one instruction of the package's code, and notes where Python takes it up.

    Python looks for signals at some instructions only, so that is the next of these: after a call, at the start of a
    function or of a coroutine, at the end of a loop's body, in the package or in what it calls.

    Args:
        at: the number of the instruction; None to send none, and to note the instructions.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.count = 0
        self.seen: list[Instruction] = []
        self.taken: Instruction | None = None
        self._send = defaultdict[int, None](_thread.interrupt_main)

    def __call__(self, frame: FrameType, event: str, _: object) -> Steps | None:
        if event == "call":
            if not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            self.count += 1
            if self.at is None:
                self.seen.append((frame.f_code, frame.f_lasti))
            elif self.count == self.at:
                sys.settrace(None)
                # Not a call in Python's own code: Python would take up the signal at its end.
                self._send[self.count]
        return self

    def __enter__(self) -> Self:
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def listen(self) -> None:
        """Note where the event loop, which has begun, gets the signal."""
        handler = signal.getsignal(signal.SIGINT)
        assert callable(handler)

        def take(number: int, frame: FrameType | None) -> None:
            PLACE[:] = [f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_stack(frame, 8)]
            own = frame
            while own is not None and not own.f_code.co_filename.startswith(PACKAGE):
                own = own.f_back
            self.taken = (own.f_code, own.f_lasti) if own is not None else None
            anywhere = raises_anywhere(handler)
            if own is not frame and anywhere:
                # asyncio loses calls to an exception in its own steps, and waits for ever: the next step of the package.
                self.at = self.count + 1
                sys.settrace(self)
                return
            _inside[:] = [own is not None]
            try:
                handler(number, frame)
            except KeyboardInterrupt:
                if not anywhere:
                    refuse_in_the_middle(frame)
                raise

        signal.signal(signal.SIGINT, take)


def raises_anywhere(handler: Callable[[int, FrameType | None], object]) -> bool:
    """Return whether the next signal raises KeyboardInterrupt wherever Python is.

    It does so without a runner. asyncio's runner does so from the second signal on, and when its main task is done.
    """
    made: Any = handler
    if isinstance(made, partial) and made.func.__qualname__ == "Runner._on_sigint":
        return bool(made.func.__self__._interrupt_count or made.keywords["main_task"].done())  # type: ignore[attr-defined]
    return made is signal.default_int_handler


def is_our_coroutine(frame: FrameType) -> bool:
    """Return whether it runs a coroutine of the package, and none that calls the user's code."""
    code = frame.f_code
    return (
        code.co_filename.startswith(PACKAGE)
        and bool(code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))
        and code not in backend._interruptible
    )


def refuse_in_the_middle(frame: FrameType | None) -> None:
    """Fail if a coroutine of the package is interrupted elsewhere than at a checkpoint, or in what a user gave it."""
    while frame is not None and frame.f_code not in backend._interruptible:
        if is_our_coroutine(frame):
            complaints.append(f"interrupted in the middle of {frame.f_code.co_qualname}")
        frame = frame.f_back


def each_step(interrupt: Callable[[Steps], bool], tries: int) -> Iterator[Steps]:
    """Give the steps of some work, one after the other: so many, or all."""
    with Steps() as noted:
        interrupt(noted)
    print(f"{len(noted.seen)} instructions", file=sys.stderr, flush=True)
    at = 1
    while at <= len(noted.seen):
        steps = Steps(at)
        yield steps
        if tries:
            at += max(1, len(noted.seen) // tries)
            continue
        # The next is the one after that at which the signal was taken up. There are few before it, as there is no call.
        with suppress(ValueError, TypeError):
            at = noted.seen.index(steps.taken, at - 1, at + MOST_WITHOUT) + 1  # type: ignore[arg-type]
        at += 1


complaints: list[str] = []

_inside: list[bool] = []
"""Whether the last interruption came in the package, or in what it called: between the steps of a user's ``async with``,
Python 3.11 to 3.13 drop the coroutine of ``__aexit__``.
"""


def _warned(message: Warning | str, category: type[Warning], *_: object) -> None:
    """Fail for a coroutine that was made and never awaited: Ctrl-C came between, and what it was to do was not done."""
    if issubclass(category, RuntimeWarning) and "never awaited" in str(message) and any(_inside):
        complaints.append(str(message))


def fail_for_unawaited() -> None:
    """Have `complaints` take such warnings."""
    warnings.simplefilter("always", RuntimeWarning)
    warnings.showwarning = _warned  # type: ignore[assignment]  # it takes more than it needs


def unraisable(what: Any) -> None:
    frames = traceback.extract_tb(what.exc_traceback)
    if not isinstance(what.exc_value, KeyboardInterrupt) and any(PACKAGE in frame.filename for frame in frames):
        complaints.append(f"{what.err_msg} {what.object!r}: {what.exc_value!r}")
