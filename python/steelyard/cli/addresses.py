"""Opening the stores that a command line names: by a root or an address."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from steelyard._lazy import Module
from steelyard._places import has_blobs, is_address, others_in, store_at
from steelyard.cli.explain import NoSource
from steelyard.cli.printing import path_shown, quoted
from steelyard.errors import NotFound

if TYPE_CHECKING:
    from steelyard._runtime import calls
    from steelyard.content import Store
else:
    calls = Module("steelyard._runtime.calls")

__all__ = ("NoStore", "check_new_root", "check_store", "open_remote", "open_root")


class NoStore(NotFound):
    """The directory is not a store. Only commands that store something create one."""

    def __init__(self, root: str, *, exists: bool, origin: str | None = None) -> None:
        super().__init__(path_shown(root) + (f" (from {origin})" if origin else ""), kind="store")
        if exists:
            self.args: tuple[object, ...] = (f"{self.name}: not a store: it has neither steelyard.json nor blobs/",)


async def check_store(root: str) -> None:
    """Check that blobs can be read from a root or an address.

    Raises:
        NoSource: the root is not a store.
    """
    if await calls.run(has_blobs, root):
        return
    there = await calls.run(os.path.lexists, root)
    shown = root if there else os.path.dirname(root) or "."  # noqa: PTH120 - text, not a path to open
    raise NoSource(root, str(NoStore(root, exists=there)), next_step=f"ls -la {quoted(shown)}")


def check_new_root(root: str) -> None:
    """Refuse to create a store among other files, because the root may be mistyped. This reads the disk.

    Raises:
        UsageError: the root is a directory with other files.
    """
    if others := others_in(root):
        from steelyard.cli.explain import UsageError  # noqa: PLC0415 - needed for errors only

        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UsageError(
            f"{path_shown(root)}: not a store, and not empty: found {path_shown(others[0])}{more}; a new store is created only in "
            "an empty directory, or in one that has a directory `blobs`",
            next_step=f"ls -A {quoted(root)}",
        )


@asynccontextmanager
async def open_remote(address: str, *, read_only: bool = False, create: bool = True) -> AsyncIterator[Store]:
    """Connect to a server. A missing store in a bucket is created, unless `read_only` is set or `create` is not.

    Raises:
        InvalidArgument: the address is invalid.
    """
    async with store_at(address, read_only=read_only, create=create) as store:
        yield store


@asynccontextmanager
async def open_root(text: str, *, read_only: bool = False, durable: bool = True) -> AsyncIterator[Store]:
    """Open a store by its root or its address; a missing root is created, unless the store is opened read-only."""
    if is_address(text):
        async with open_remote(text, read_only=read_only) as remote:
            yield remote
        return
    if not read_only:
        await calls.run(check_new_root, text)
    async with store_at(text, read_only=read_only, durable=durable) as store:
        yield store
