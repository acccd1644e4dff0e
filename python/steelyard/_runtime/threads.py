"""Threads that Python starts. If the system refuses a thread, `StorageError` is raised, as for the threads of native code."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from steelyard.errors import StorageError

__all__ = ("Pool", "refusable", "require", "start")

_REFUSAL = "can't start new thread"
"""The message of Python's RuntimeError, which has no error number."""


@contextmanager
def refusable(path: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """Raise StorageError if the system refuses a thread.

    Args:
        path: the file that the thread works on, if there is one.

    Raises:
        StorageError: the system refused to start a thread (EAGAIN).
    """
    try:
        yield
    except RuntimeError as error:
        if _REFUSAL not in str(error):
            raise
        raise StorageError(
            errno.EAGAIN, operation="start a thread", path=None if path is None else os.fspath(path)
        ) from error


def start(thread: threading.Thread, path: str | os.PathLike[str] | None = None) -> None:
    """Start a thread.

    Raises:
        StorageError: the system refused (EAGAIN).
    """
    with refusable(path):
        thread.start()


def require(count: int, path: str | os.PathLike[str] | None = None) -> None:
    """Check that this many threads can be started now, by starting and ending them.

    Call it before a library that ends the process when a thread is refused.

    Raises:
        StorageError: the system refused one of them (EAGAIN).
    """
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=end.wait, name="steelyard-probe", daemon=True)
            start(thread, path)
            started.append(thread)
    finally:
        end.set()
        for thread in started:
            thread.join()


class Pool(ThreadPoolExecutor):
    """A pool that continues with fewer threads when the system refuses more.

    Raises (on `submit`):
        StorageError: the pool has no thread, and the system refused to start one (EAGAIN).
    """

    def _adjust_thread_count(self) -> None:
        try:
            with refusable():
                super()._adjust_thread_count()
        except StorageError:
            # The work is already in the queue, and each thread works until the queue is empty.
            if not self._threads:
                raise
