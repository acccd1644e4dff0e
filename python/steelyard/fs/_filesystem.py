"""The file system: reading, and opening files."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Any

from anyio.lowlevel import checkpoint
from fsspec.asyn import sync
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.config import apply_config
from fsspec.utils import isfilelike, stringify_path

from steelyard._runtime import calls
from steelyard._runtime.backend import uninterrupted
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.fs._bases import AsyncFileSystem, FileSystemType, Transaction
from steelyard.fs._changes import Changes
from steelyard.fs._errors import is_directory, not_found, os_error, os_errors, unsupported
from steelyard.fs._file import NameTransaction, OpenBlob, SteelyardAsyncFile, SteelyardFile
from steelyard.fs._finder import Finder
from steelyard.fs._found import Found
from steelyard.fs._getting import write_file, write_pieces
from steelyard.fs._lazy_store import LazyStore, close_at_exit, located
from steelyard.fs._paths import PROTOCOL, parse, stripped
from steelyard.fs._writing import MEDIA_TYPE, NewBlob, check_new
from steelyard.images._off_loop import short_slices
from steelyard.options import ReadRange

__all__ = ("SteelyardFileSystem",)

_AT_ONCE = 16


class _Instances(FileSystemType):
    """Creates file systems: one for each address, and a new one for each call with an open store."""

    def __call__(cls, *args: Any, **options: Any) -> Any:  # noqa: N805  # a metaclass
        options = apply_config(cls, options)
        if len(args) > 1 or (args and "store" in options):
            raise TypeError("SteelyardFileSystem: expected one store")
        store = args[0] if args else options.pop("store", None)
        if isinstance(store, Store):
            options["skip_instance_cache"] = True  # two stores may have the same text
        else:
            store = located(store)  # now, by the present environment and current directory
        return super().__call__(store=store, **options)


class SteelyardFileSystem(Changes, AsyncFileSystem, metaclass=_Instances):
    """The image names, trees and blobs of a store as files, for programs that use fsspec.

    ```python
    files = fsspec.filesystem("steelyard", store="/srv/blobs")
    files.pipe("notes/a.txt", b"wool")
    assert files.cat("notes/a.txt") == b"wool"
    ```

    `docs/fsspec.md` describes the paths, the errors and the limits. Methods with a leading ``_`` are coroutines, for asyncio event loops
    with ``asynchronous=True``. The other methods block, and run these coroutines in the event loop of fsspec's thread.

    Args:
        store: the root of a store, an address as on the command line, or a `Store`. With None, the store is the one in the environment
            variable ``STEELYARD_STORE`` or the config file, or else the default of the command line. A `Store` is opened if it is not open,
            and is never closed.
        read_only: open the store read-only.
        options: ``asynchronous``, ``loop``, ``batch_size`` and ``skip_instance_cache``; see fsspec.

    Raises (at its use):
        FileNotFoundError: the store does not exist, and the call does not write.
        FailedPrecondition: in a child of a fork; create another file system there.
        Unsupported: in a trio event loop.
    """

    protocol: str = PROTOCOL
    root_marker: str = ""
    transaction_type: type[Transaction] = NameTransaction

    def __init__(self, store: Any = None, *, read_only: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._place: str | Store = store
        self._lazy = LazyStore(store, read_only=read_only)
        self._finder = Finder()
        close_at_exit(self._lazy, self._loop)
        weakref.finalize(self, self._lazy.close_soon).atexit = False

    @property
    def loop(self) -> Any:
        """The event loop of blocking calls. Raises FailedPrecondition in a child of a fork."""
        self._lazy.check_process()
        return self._loop

    @property
    def fsid(self) -> str:
        """The store, as text."""
        return f"{PROTOCOL}:{self._place}"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return stripped(stringify_path(path))

    @classmethod
    def _parent(cls, path: Any) -> str:
        return stripped(stringify_path(path)).rpartition("/")[0]

    def __reduce__(self) -> Any:
        """Return the address of the store: another process opens it again. Raises TypeError for an open store."""
        if isinstance(self._place, Store):
            raise TypeError(
                "cannot pickle a SteelyardFileSystem of an open store: create it with the address of the store"
            )
        return super().__reduce__()

    async def aclose(self) -> None:
        """Close the store, unless it is a `Store` that the program passed. The next call opens it again."""
        await self._lazy.aclose()

    def close(self) -> None:
        """Close the store, like `aclose`, in a blocking program."""
        sync(self.loop, self._lazy.aclose)

    def release_soon(self, release: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Call a coroutine function in the event loop, soon. Safe in the finalizer of an open file."""
        self._lazy.release_soon(release)

    # Reading

    async def _found(self, path: str) -> tuple[Store, Found]:
        with os_errors(path):
            store = await self._lazy.reading()
            return store, await self._finder.find(store, path)

    async def _info(self, path: str, **options: Any) -> dict[str, Any]:
        del options
        return (await self._found(path))[1].info()

    async def _exists(self, path: str, **options: Any) -> bool:
        del options
        try:
            await self._found(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    async def _ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        del options
        store, found = await self._found(path)
        with os_errors(path):
            listed = await self._finder.children(store, found) or ([] if found.type == "directory" else [found])
        shown: list[Any] = []
        for some in short_slices(listed):
            shown += [each.info() if detail else each.path for each in some]
            await checkpoint()
        return shown

    @uninterrupted  # calls with `**options` would leave their coroutines unawaited
    async def _find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **options: Any,
    ) -> Any:
        try:
            _, top = await self._found(path)
        except FileNotFoundError:
            return {} if options.get("detail") else []
        if maxdepth is not None or top.type != "directory" or top.tree is None:
            return await super()._find(path, maxdepth=maxdepth, withdirs=withdirs, **options)
        detail = options.get("detail", False)
        listed = {top.path: top.info()} if withdirs and top.path else {}
        async with aclosing(self._finder.below(top)) as below:
            async for each in below:  # other tasks run in between
                if withdirs or each.type != "directory":
                    listed[each.path] = each.info() if detail else {}
        names = sorted(listed)
        return {name: listed[name] for name in names} if detail else names

    @uninterrupted  # calls with `**options` would leave their coroutines unawaited
    async def _du(self, path: str, total: bool = True, maxdepth: int | None = None, **options: Any) -> Any:
        found = await self._find(path, maxdepth=maxdepth, detail=True, **options)
        sizes = {name: info.get("size") or 0 for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    async def _cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        *,
        callback: Any = DEFAULT_CALLBACK,
        **options: Any,
    ) -> bytes:
        del options
        data: bytes
        (data,) = await self._cat_ranges([path], [start], [end], on_error="raise")
        callback.set_size(len(data))
        callback.relative_update(len(data))
        return data

    @uninterrupted  # calls with `**options` would leave their coroutines unawaited
    async def _cat(
        self,
        path: Any,
        recursive: bool = False,
        on_error: str = "raise",
        *,
        callback: Any = DEFAULT_CALLBACK,
        **options: Any,
    ) -> Any:
        paths = await self._expand_path(path, recursive=recursive)
        if len(paths) == 1 and isinstance(path, str) and paths[0] == self._strip_protocol(path):
            return await self._cat_file(paths[0], callback=callback, **options)
        found = await self._cat_ranges(paths, options.get("start"), options.get("end"))
        read = {name: each for name, each in zip(paths, found, strict=True) if not isinstance(each, IsADirectoryError)}
        errors = [each for each in read.values() if isinstance(each, Exception)]
        if errors and on_error == "raise":
            raise errors[0]
        callback.set_size(sum(len(each) for each in read.values() if isinstance(each, bytes)))
        callback.relative_update(callback.size)
        return {name: each for name, each in read.items() if on_error != "omit" or not isinstance(each, Exception)}

    async def _cat_ranges(  # noqa: PLR0917  # fsspec's
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **options: Any,
    ) -> list[Any]:
        del batch_size, options
        if max_gap is not None:
            raise unsupported("cat_ranges", "max_gap")
        if not isinstance(paths, list):
            raise TypeError("cat_ranges: expected a list of paths")
        numbers = [each if isinstance(each, Iterable) else [each] * len(paths) for each in (starts, ends)]
        parts = list(zip(paths, *numbers, strict=True))
        with os_errors(", ".join(paths[:1])):
            digests = await self._digests(paths)
        wanted = [ReadRange(digests[path], *ends) for path, *ends in parts if isinstance(digests[path], Digest)]
        read: Any = iter(await self._read(wanted))
        found = [next(read) if isinstance(digests[path], Digest) else digests[path] for path in paths]
        found = [
            os_error(path, each) if isinstance(each, Exception) else each
            for path, each in zip(paths, found, strict=True)
        ]
        if on_error != "return":
            for each in found:
                if isinstance(each, Exception):
                    raise each
        return found

    async def _digests(self, paths: list[str]) -> dict[str, Any]:
        """Return the digest of the file at each path, or the error. A path that is a digest is returned as it is, without a look-up."""
        targets = {path: parse(path) for path in paths}
        direct = {path: each.digest for path, each in targets.items() if each.digest is not None and not each.inner}
        others = [path for path in targets if path not in direct]
        found = await self._finder.find_many(await self._lazy.reading(), others) if others else {}
        return {path: direct[path] if path in direct else _digest_of(path, found[path]) for path in targets}

    async def _read(self, wanted: Sequence[ReadRange]) -> list[bytes | Exception]:
        store = await self._lazy.reading()
        if len(wanted) == 1:
            return [await _read_one(store, wanted[0])]
        return await store._read_ranges(wanted) if wanted else []  # noqa: SLF001  # a hook of the interface

    async def _get_file(self, rpath: str, lpath: Any, *, callback: Any = DEFAULT_CALLBACK, **options: Any) -> None:
        del options
        store, found = await self._found(rpath)
        with os_errors(rpath):
            if found.type == "directory" or (found.type == "link" and await self._leads_to_directory(rpath)):
                await calls.run(partial(os.makedirs, lpath, exist_ok=True))
            elif found.digest is None:
                raise not_found(rpath)
            elif isfilelike(lpath):
                await write_pieces(store, found.digest, lpath.write, callback)
            else:
                await write_file(store, found.digest, lpath, executable=found.executable, callback=callback)

    async def _leads_to_directory(self, path: str) -> bool:
        return (await self._found(path))[1].type == "directory"

    def ukey(self, path: str) -> str:
        """Return the digest of a file, or of the document of a tree; for any other directory, a hash of its info."""
        info = self.info(path)
        return str(info["digest"] or super().ukey(path))

    def created(self, path: str) -> datetime:
        """Return the time at which a name was created or a blob was stored (UTC). Raises NotImplementedError for entries of a tree."""
        return self._time(path, "created")

    def modified(self, path: str) -> datetime:
        """Return the time at which a name was last set, or the modification time of a file of a tree (UTC).

        Raises:
            NotImplementedError: the tree does not have the time, or the path is a blob, which never changes.
        """
        return self._time(path, "mtime")

    def _time(self, path: str, key: str) -> datetime:
        found: datetime | None = self.info(path).get(key)
        if found is None:
            raise unsupported(path, f"the time {key}, which is not known")
        return found

    # Open files

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> SteelyardFile:
        if self.asynchronous:
            raise unsupported(path, "open() with asynchronous=True; use open_async()")
        media_type = options.pop("media_type", MEDIA_TYPE)
        options.pop("size", None)  # the size of the blob counts
        options |= {"block_size": block_size, "cache_options": cache_options, "autocommit": autocommit}
        if mode == "rb":
            return SteelyardFile(self, path, mode, blob=sync(self.loop, self._open_blob, path), **options)
        new = sync(self.loop, self._new_blob, path, mode, media_type)
        return SteelyardFile(self, path, mode, new=new, **options)

    async def open_async(self, path: str, mode: str = "rb", **options: Any) -> SteelyardAsyncFile:
        """Open a file in the running asyncio event loop: ``"rb"``, ``"wb"`` or ``"xb"``, without text or compression."""
        if options.pop("compression", None) or "b" not in mode:
            raise unsupported(path, "text and compression in open_async()")
        path = self._strip_protocol(path)
        media_type = options.pop("media_type", MEDIA_TYPE)
        if mode == "rb":
            return SteelyardAsyncFile(self, path, mode, blob=await self._open_blob(path), **options)
        new = await self._new_blob(path, mode, media_type)
        return SteelyardAsyncFile(self, path, "wb", new=new, **options)

    async def _open_blob(self, path: str) -> OpenBlob:
        with os_errors(path):
            store = await self._lazy.reading()
            digest = (await self._digests([path]))[path]
            if isinstance(digest, Exception):
                raise digest
            return OpenBlob(store, await store.reader_at(digest))

    async def _new_blob(self, path: str, mode: str, media_type: str) -> NewBlob:
        if mode not in {"wb", "xb"}:
            raise unsupported(path, f"mode {mode!r}: a blob does not change")
        with os_errors(path):
            store = await self._lazy.writing()
            create = mode == "xb"
            target = await check_new(store, self._finder, path, create=create)
            return NewBlob(store, target, create=create, media_type=media_type)


def _digest_of(path: str, found: Found | Exception) -> Digest | Exception:
    if isinstance(found, Exception):
        return found
    if found.type == "directory":
        return is_directory(path)
    return not_found(path) if found.digest is None else found.digest


async def _read_one(store: Store, part: ReadRange) -> bytes | Exception:
    """Read one range; a range in the page cache needs no hop."""
    try:
        async with store.reader_at(part.digest) as reader:
            offset, size = part.within(reader.size)
            if size < reader.size:
                return await reader.read_at(offset, size)
        return await store.get(part.digest)
    except Exception as error:  # noqa: BLE001  # the result carries it
        return error
