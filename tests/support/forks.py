"""Children of a fork, for tests: what one finds out comes back, and one that hangs is killed."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import trio

LIMIT_SECONDS = 120


def forked(work: Callable[[], Any]) -> Any:
    """Return what `work` returns in a child of a fork. It ends at once, without the end of an interpreter."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _report(writing, work)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        given = answer.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"
    failed, result = pickle.loads(given)
    assert not failed, result
    return result


def forked_run(work: Callable[[], Awaitable[Any]]) -> Any:
    """Likewise, in an event loop of the child's own, of the kind that runs here."""
    backend = current_backend()
    return forked(lambda: anyio.run(work, backend=backend))


def current_backend() -> str:
    """Return the backend of the event loop that runs here; asyncio if none does."""
    return "trio" if trio.lowlevel.in_trio_run() else "asyncio"


def _report(writing: int, work: Callable[[], Any]) -> None:
    signal.alarm(LIMIT_SECONDS)  # SIGALRM ends it, whatever it hangs in
    answer: tuple[bool, Any] = (True, "the thread ended without an answer")

    def find_out() -> None:
        nonlocal answer
        try:
            answer = (False, work())
        except BaseException:  # noqa: BLE001  # the parent raises it
            answer = (True, traceback.format_exc())

    # In a thread of its own, where no event loop of the parent is believed to run.
    thread = threading.Thread(target=find_out)
    thread.start()
    thread.join()
    with os.fdopen(writing, "wb") as file:
        file.write(pickle.dumps(answer))
    os._exit(0)
