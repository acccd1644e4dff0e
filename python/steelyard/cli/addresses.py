"""Addresses of stores behind a server on the command line.

``containerd:///PATH/OF/SOCKET?namespace=NAME&lease=ID`` and ``s3://BUCKET/PREFIX?endpoint=URL&region=NAME``.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from steelyard._lazy import Module
from steelyard.cli.explain import NoSource
from steelyard.cli.printing import path_shown, quoted
from steelyard.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from steelyard._runtime import calls
    from steelyard.content import Store
    from steelyard.objects import ObjectStore
else:
    calls = Module("steelyard._runtime.calls")

__all__ = (
    "NoStore",
    "check_new_root",
    "check_store",
    "has_blobs",
    "is_address",
    "is_object_storage",
    "is_store",
    "open_objects",
    "open_remote",
    "open_root",
    "written_out",
)

_SCHEME = "containerd:"
_OBJECTS = "s3:"
_OWN_NAMES = re.compile(r"ingest|lock|meta\.db.*|lost\+found", re.DOTALL)
"""Names that the first opening of a store creates beside `blobs`, and names in a new file system."""
_OTHER_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


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


def is_address(text: str) -> bool:
    """Return whether the text is the address of a server, not the root of a store.

    Raises:
        InvalidArgument: it is neither: empty, which would be the current directory, or the address of something else.
    """
    if not text:
        raise InvalidArgument("expected a path or an address, found ''")
    scheme = _OTHER_SCHEME.match(text)
    if scheme is not None and not text.startswith((_SCHEME, _OBJECTS)):
        raise InvalidArgument(
            f"{text}: unknown scheme {scheme[1]!r}: expected a path, containerd:///PATH/OF/SOCKET, or s3://BUCKET/PREFIX; "
            f"a file or directory of that name is ./{text}"
        )
    return text.startswith(_SCHEME) or (text.startswith(_OBJECTS) and text.removeprefix(_OBJECTS).startswith("/"))


def is_object_storage(text: str) -> bool:
    """Return whether the text is the address of a bucket."""
    return text.startswith(_OBJECTS) and is_address(text)


def written_out(address: str) -> str:
    """Return the address with all its slashes; a conversion to a path leaves only one."""
    if address.startswith(_OBJECTS):
        return f"{_OBJECTS}//{address.removeprefix(_OBJECTS).lstrip('/')}"
    return f"{_SCHEME}///{address.removeprefix(_SCHEME).lstrip('/')}"


def is_store(text: str) -> bool:
    """Return whether the path is a store; it reads the disk."""
    return is_address(text) or (Path(text) / "steelyard.json").is_file()


def has_blobs(text: str) -> bool:
    """Return whether the path has readable blobs: a store, or the content root of a containerd; it reads the disk."""
    return is_store(text) or (Path(text) / "blobs").is_dir()


def check_new_root(root: str) -> None:
    """Refuse to create a store among other files, because the root may be mistyped; it reads the disk.

    `LocalStore` adopts any directory. A directory with `blobs/` is adopted here too: an image layout, or a store whose
    first opening was interrupted, which may also have left only the other names of a store.

    Raises:
        UsageError: the root is a directory of something else.
    """
    if has_blobs(root) or not Path(root).is_dir():
        return
    others = sorted(name for name in os.listdir(root) if not _OWN_NAMES.fullmatch(name))  # noqa: PTH208 - names alone
    if others:
        from steelyard.cli.explain import UsageError  # noqa: PLC0415 - needed for errors only

        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UsageError(
            f"{path_shown(root)}: not a store, and not empty: found {path_shown(others[0])}{more}; a new store is created only in "
            "an empty directory, or in one that has a directory `blobs`",
            next_step=f"ls -A {quoted(root)}",
        )


@asynccontextmanager
async def open_remote(address: str, *, read_only: bool = False) -> AsyncIterator[Store]:
    """Connect to a server; read-only, a missing store in a bucket is not created.

    Raises:
        InvalidArgument: the address is not understood.
        UsageError: the packages are missing.
    """
    if address.startswith(_OBJECTS):
        async with open_objects(address, read_only=read_only) as objects:
            yield objects
        return
    path, options = _parse(address)
    try:
        from steelyard.containerd.remote import RemoteStore  # noqa: PLC0415 - gRPC, which other commands do not need
    except ImportError as missing:
        from steelyard.cli.explain import UsageError  # noqa: PLC0415 - needed for errors only

        raise UsageError(f"{address}: {missing}", next_step="pip install 'steelyard[grpc]'") from None
    async with RemoteStore(path, namespace=options.get("namespace", "default"), lease=options.get("lease")) as store:
        yield store


@asynccontextmanager
async def open_objects(address: str, *, read_only: bool = False) -> AsyncIterator[ObjectStore]:
    """Open a store in a bucket; see `open_remote`. It has the cache that the environment asks for."""
    from steelyard.cli.units import Size  # noqa: PLC0415 - needed here only
    from steelyard.objects import ObjectStore  # noqa: PLC0415 - other commands do not need it

    cache, text = os.environ.get("STEELYARD_CACHE"), os.environ.get("STEELYARD_CACHE_BYTES")
    try:
        cache_bytes = Size(text or "10GiB")
    except ValueError:
        raise InvalidArgument(f"STEELYARD_CACHE_BYTES: expected a size such as 50GiB, found {text!r}") from None
    async with ObjectStore(
        written_out(address), cache=cache or None, cache_bytes=cache_bytes, read_only=read_only
    ) as objects:
        yield objects


@asynccontextmanager
async def open_root(text: str, *, read_only: bool = False, durable: bool = True) -> AsyncIterator[Store]:
    """Open a store by its root or its address; a missing root is created, unless the store is opened read-only."""
    if is_address(text):
        async with open_remote(text, read_only=read_only) as remote:
            yield remote
        return
    from steelyard.local import LocalStore  # noqa: PLC0415 - the extension, which help does not need

    if not read_only:
        await calls.run(check_new_root, text)
    async with LocalStore(text, read_only=read_only, durability="power-loss" if durable else "process-crash") as store:
        yield store


def _parse(address: str) -> tuple[str, dict[str, str]]:
    """Return the path of the socket, and the options."""
    path, _, query = address.removeprefix(_SCHEME).partition("?")
    if not path.startswith("/") or (path.startswith("//") and not path.startswith("///")):
        raise InvalidArgument(f"{address}: expected containerd:///PATH/OF/SOCKET, a path from the root")
    address = written_out(address)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InvalidArgument(f"{address}: {error}") from None
    options = dict(pairs)
    unknown = options.keys() - {"namespace", "lease"}
    if unknown or len(options) != len(pairs) or not all(options.values()):
        raise InvalidArgument(
            f"{address}: expected namespace=NAME and lease=ID after the ?, each once, found {query!r}"
        )
    return "/" + unquote(path).lstrip("/"), options
