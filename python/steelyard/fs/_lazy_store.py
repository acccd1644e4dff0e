"""The store of a file system, opened when it is first used, in the event loop of the file system."""

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
    """A store by its address, or one that a program has opened.

    Args:
        place: the absolute root of a store on this machine's disk, an address, or a store. A store is opened if it is not open; it is the
            program's, and is never closed here.
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
        """Return the store, open to read.

        Raises:
            NotFound: there is no store.
            FailedPrecondition: in a child of a fork, or in another event loop than before.
            Unsupported: the event loop is not asyncio's.
        """
        return self._opened[-1] if self._is_here() and self._opened else await self._open(change=False)

    async def writing(self) -> Store:
        """Return the store, open to change it; make it if there is none. Raises as `reading`.

        Raises:
            InvalidArgument: it is to be made in a directory with other files.
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
        """Call a coroutine function in the event loop of the store, soon; from any thread, even while objects are collected."""

        async def quietly() -> None:
            with suppress(Exception):  # what was acknowledged is stored
                await release()

        if self._loop is not None and self._process.is_current:
            self._loop.try_call(self._loop.start_task, quietly)

    def close_soon(self) -> None:
        """Close the store, soon; from a finalizer."""
        self.release_soon(self.aclose)

    def close_in(self, loop: Any) -> None:
        """Close the store in the event loop that runs in another thread, and wait for it."""
        if self._opened and self._process.is_current and loop is not None and loop.is_running():
            with suppress(Exception):  # as above
                sync(loop, self.aclose, timeout=_CLOSE_SECONDS)

    def _is_here(self) -> bool:
        """Check the process and the event loop; return False if the one that the store was opened in has ended."""
        self.check_process()
        if not on_asyncio():
            raise Unsupported(
                "SteelyardFileSystem", operation="calls on trio: fsspec is made for asyncio; use a thread, or the store"
            )
        if self._loop is None or isinstance(self._place, Store):
            return True
        here = EventLoop()
        if self._loop.reference() is here.reference():
            return True
        if self._loop.running:
            raise FailedPrecondition(
                "SteelyardFileSystem: it is used in another event loop; make one for this with skip_instance_cache=True"
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
                # A store that is read-only refuses changes itself.
                self._can_write = can_write or self._read_only
            self._opened.append(store)  # one that was opened to read stays open: there may be open files
            self._loop = EventLoop()
            return store


def _check(root: str, create: bool, may_write: bool) -> bool:  # on a thread
    """Return whether to open the store at a root for changes, too: if it is ours, or is to be made.

    Raises:
        NotFound: there is no store.
        InvalidArgument: one is to be made among other files.
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


# After the import of `calls`, whose threads end at exit, too: what is registered last is called first.
atexit.register(_close_all)


def located(store: str | os.PathLike[str] | None) -> str:
    """Return the absolute root or the address of a store; None: the one that is set.

    Raises:
        InvalidArgument: it is empty, or an address of something else.
    """
    if store is None:
        return find_store(None, read_config()).value
    place = os.fspath(store)
    return place if is_address(place) else str(Path(place).expanduser().absolute())
