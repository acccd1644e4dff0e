"""The store of a file system. It is opened at its first use, in the event loop of the file system."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
from fsspec.asyn import sync

from steelyard._places import find_store, has_blobs, is_address, is_store, others_in, read_config, store_at
from steelyard._runtime import calls
from steelyard._runtime.backend import EventLoop, on_asyncio
from steelyard._runtime.fork import Process
from steelyard.content import Store
from steelyard.errors import FailedPrecondition, InvalidArgument, NotFound, Unsupported

__all__ = ("LazyStore", "close_at_exit", "located")

_CLOSE_SECONDS = 30


class LazyStore:
    """A store that is opened by its address, or a store object of the program.

    Args:
        place: the absolute root of a store on this machine's disk, an address, or a store object. A store object is opened if it is not open.
            The program owns it, so it is never closed here.
        read_only: open the store read-only.
    """

    def __init__(self, place: str | Store, *, read_only: bool) -> None:
        self._place = place
        self._read_only = read_only
        self._process = Process()
        self._opened: list[Store] = []
        self._can_write = False
        self._loop: EventLoop | None = None
        self._opening = anyio.Lock()

    def check_process(self) -> None:
        """Refuse to work in a child of a fork. Raises FailedPrecondition."""
        self._process.check("SteelyardFileSystem")

    async def reading(self) -> Store:
        """Return the store, open for reading.

        Raises:
            NotFound: the store does not exist.
            FailedPrecondition: in a child of a fork, or if the store is open in another event loop.
            Unsupported: the event loop is not asyncio's.
        """
        return self._opened[-1] if self._is_here() and self._opened else await self._open(change=False)

    async def writing(self) -> Store:
        """Return the store, open for changes; create it if it does not exist. Raises the errors of `reading`, and one more.

        Raises:
            InvalidArgument: the store would be created in a directory with other files.
        """
        if self._is_here() and self._can_write and self._opened:
            return self._opened[-1]
        return await self._open(change=True)

    async def aclose(self) -> None:
        """Close the store if it was opened here. The next use opens it again."""
        opened, self._opened, self._can_write, self._loop = self._opened, [], False, None
        if isinstance(self._place, str):
            async with AsyncExitStack() as stack:
                for store in opened:
                    stack.push_async_callback(store.aclose)

    def release_soon(self, release: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Call a coroutine function in the event loop of the store, soon. Safe in any thread and in finalizers."""

        async def quietly() -> None:
            with suppress(Exception):  # acknowledged bytes are already stored
                await release()

        if self._loop is not None and self._process.is_current:
            self._loop.try_call(self._loop.start_task, quietly)

    def close_soon(self) -> None:
        """Close the store, soon. Safe in finalizers."""
        self.release_soon(self.aclose)

    def close_in(self, loop: Any) -> None:
        """Close the store in an event loop that runs in another thread, and wait until it is closed."""
        if self._opened and self._process.is_current and loop is not None and loop.is_running():
            with suppress(Exception):  # as above
                sync(loop, self.aclose, timeout=_CLOSE_SECONDS)

    def _is_here(self) -> bool:
        """Check the process and the event loop; return False if the event loop in which the store was opened has ended."""
        self.check_process()
        if not on_asyncio():
            raise Unsupported(
                "SteelyardFileSystem",
                operation="calls on trio, because fsspec needs asyncio; use a thread or the store",
            )
        if self._loop is None or isinstance(self._place, Store):
            return True
        here = EventLoop()
        if self._loop.reference() is here.reference():
            return True
        if self._loop.running:
            raise FailedPrecondition(
                "SteelyardFileSystem: in use in another event loop; create one for this loop with skip_instance_cache=True"
            )
        return False

    async def _open(self, *, change: bool) -> Store:
        async with self._opening:
            if not self._is_here():
                await self.aclose()
            if self._opened and (self._can_write or not change):
                return self._opened[-1]
            if isinstance(self._place, Store):
                store, self._can_write = await self._place.aopen(), True
            else:
                can_write = change and not self._read_only
                if not is_address(self._place):
                    can_write = await calls.run(_check, self._place, can_write, not self._read_only)
                store = await store_at(self._place, read_only=not can_write).aopen()
                # A read-only store refuses changes itself.
                self._can_write = can_write or self._read_only
            self._opened.append(store)  # an earlier, read-only one stays open: it may have open files
            self._loop = EventLoop()
            return store


def _check(root: str, create: bool, may_write: bool) -> bool:  # on a thread
    """Return whether to open the store at a root for changes: if it must be created, or if it exists and this process may write to it.

    Raises:
        NotFound: the store does not exist, and `create` is false.
        InvalidArgument: the store would be created among other files.
    """
    if not has_blobs(root):
        if not create:
            raise NotFound(root, kind="store")
        if others := others_in(root):
            raise InvalidArgument(f"{root}: not a store, and not empty: found {others[0]!r}")
    return create or (may_write and is_store(root) and os.access(root, os.W_OK))


_all: weakref.WeakKeyDictionary[LazyStore, Any] = weakref.WeakKeyDictionary()
"""The stores of file systems, each with the event loop of its blocking calls."""


def close_at_exit(lazy: LazyStore, loop: Any) -> None:
    """Close a store when the interpreter ends."""
    _all[lazy] = loop


def _close_all() -> None:
    for lazy, loop in list(_all.items()):
        lazy.close_in(loop)


# After the import of `calls`, whose threads end at exit, too: the function that is registered last is called first.
atexit.register(_close_all)


def located(store: str | os.PathLike[str] | None) -> str:
    """Return the absolute root or the address of a store; with None, of the store in the environment or the config file.

    Raises:
        InvalidArgument: the text is empty, or an address of another kind.
    """
    if store is None:
        return find_store(None, read_config()).value
    place = os.fspath(store)
    return place if is_address(place) else str(Path(place).expanduser().absolute())
