"""Changes: new files, and names that are set, copied, moved and removed."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from glob import has_magic
from pathlib import Path
from typing import Any

from fsspec.asyn import sync
from fsspec.callbacks import DEFAULT_CALLBACK

from steelyard._runtime.backend import uninterrupted
from steelyard._runtime.concurrent import map_concurrently
from steelyard.content import Store
from steelyard.errors import NotFound
from steelyard.fs._bases import AsyncFileSystem
from steelyard.fs._errors import is_directory, not_found, os_errors, read_only, unsupported
from steelyard.fs._finder import Finder
from steelyard.fs._found import Found
from steelyard.fs._lazy_store import LazyStore
from steelyard.fs._paths import Target, joined
from steelyard.fs._writing import MEDIA_TYPE, check_new, put_source, put_sources, set_name
from steelyard.images.leases import own_or_new_guard
from steelyard.model import Descriptor, Progress, PutResult, Source

__all__ = ("Changes",)

_AT_ONCE = 16


class Changes(AsyncFileSystem):
    """The methods of the file system that change something."""

    _lazy: LazyStore
    _finder: Finder
    _found: Callable[[str], Awaitable[tuple[Store, Found]]]

    async def _pipe(
        self,
        path: str | Mapping[str, Any],
        value: Any = None,
        batch_size: int | None = None,
        *,
        mode: str = "overwrite",
        media_type: str = MEDIA_TYPE,
        **options: Any,
    ) -> list[PutResult]:
        """Store bytes under one name, or under many names, which are set in one step at the end."""
        del batch_size, options
        values = {path: value} if isinstance(path, str) else dict(path)
        for each in values.values():
            _check_bytes(each)
        create = mode == "create"

        async def check(each: str) -> Target:
            with os_errors(each):
                return await check_new(store, self._finder, each, create=create)

        with os_errors(", ".join(list(values)[:1])):
            store = await self._lazy.writing()
            targets = await map_concurrently(values, check, concurrency=_AT_ONCE)
            pairs = list(zip(targets, values.values(), strict=True))
            return await put_sources(store, pairs, create=create, media_type=media_type)

    async def _pipe_file(
        self, path: str, value: Any, mode: str = "overwrite", *, media_type: str = MEDIA_TYPE, **options: Any
    ) -> PutResult:
        del options
        _check_bytes(value)
        return await self._put_source(path, value, create=mode == "create", media_type=media_type)

    @uninterrupted  # calls with `**options` would leave their coroutines unawaited
    async def _put(self, lpath: Any, rpath: Any, recursive: bool = False, **options: Any) -> Any:
        """Store files of this machine, under one lease for all of them."""
        with os_errors(str(rpath)):
            store = await self._lazy.writing()
            async with own_or_new_guard(store) as guard:
                return await super()._put(lpath, rpath, recursive=recursive, leased=guard.store, **options)

    async def _put_file(
        self,
        lpath: str | os.PathLike[str],
        rpath: str,
        mode: str = "overwrite",
        *,
        callback: Any = DEFAULT_CALLBACK,
        media_type: str = MEDIA_TYPE,
        leased: Store | None = None,
        **options: Any,
    ) -> PutResult:
        del options

        def report(progress: Progress) -> None:
            callback.set_size(progress.total)
            callback.absolute_update(progress.done)

        result = await self._put_source(
            rpath, Path(lpath), leased, create=mode == "create", media_type=media_type, on_progress=report
        )
        callback.set_size(result.size)  # a small file has no progress
        callback.absolute_update(result.size)
        return result

    @uninterrupted  # calls with `**options` would leave their coroutines unawaited
    async def _put_source(
        self, path: str, source: Source, leased: Store | None = None, *, create: bool, **options: Any
    ) -> PutResult:
        with os_errors(path):
            store = leased or await self._lazy.writing()
            target = await check_new(store, self._finder, path, create=create)
            return await put_source(store, target, source, create=create, **options)

    async def _cp_file(self, path1: str, path2: str, *, leased: Store | None = None, **options: Any) -> None:
        """Set a name to the object at another path. No byte is copied. A directory without a digest is skipped."""
        del options
        _, found = await self._found(path1)
        if found.type != "directory" or found.digest is not None:
            await self._hold(path2, found, leased)

    async def _hold(self, path: str, found: Found, leased: Store | None = None) -> None:
        with os_errors(path):
            store = leased or await self._lazy.writing()
            target = await check_new(store, self._finder, path, create=False)
            if not target.is_name:
                raise read_only(path, "a digest cannot be the target of a copy")
            held = _descriptor(found)
            async with own_or_new_guard(store) as guard:
                if found.image is None:  # perhaps no root keeps it yet
                    await guard.protect([held.digest])
                    if not await store.exists(held.digest):
                        raise NotFound(held.digest)
                await set_name(guard.store, target.path, held, create=False)

    @uninterrupted  # calls with `**options` would leave their coroutines unawaited
    async def _copy(self, path1: Any, path2: Any, recursive: bool = False, **options: Any) -> None:
        """Copy names and files, under one lease for all of them."""
        if isinstance(path1, str) and isinstance(path2, str) and not has_magic(path1):
            _, found = await self._found(path1)
            if found.type == "directory" and found.tree is not None and not found.inner:
                if not recursive:
                    raise is_directory(path1)
                into = path2.endswith("/") or await self._isdir(path2)
                name = found.path.rpartition("/")[2]
                await self._hold(joined(self._strip_protocol(path2), name) if into else path2, found)
                return
        async with own_or_new_guard(await self._lazy.writing()) as guard:
            await super()._copy(path1, path2, recursive=recursive, leased=guard.store, **options)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **options: Any) -> None:
        """Move names: set the new ones, then remove the old ones. Raises the errors of `rm` before it changes anything."""
        sync(self.loop, self._mv, path1, path2, recursive=recursive, maxdepth=maxdepth, **options)

    @uninterrupted  # calls with `**options` would leave their coroutines unawaited
    async def _mv(self, path1: Any, path2: Any, *, recursive: bool, maxdepth: int | None, **options: Any) -> None:
        if maxdepth is not None:
            raise unsupported("mv", "maxdepth")
        if self._strip_protocol(path1) == self._strip_protocol(path2):
            return
        names = await self._removed(path1, recursive=recursive)
        await self._copy(path1, path2, recursive=recursive, on_error="raise", **options)
        await self._remove(names)

    async def _rm_file(self, path: str, **options: Any) -> None:
        """Remove a name. The blobs that it kept stay stored until they are collected as garbage."""
        del options
        store, found = await self._found(path)
        if found.image is None:
            if found.type == "directory" and found.tree is None:
                raise is_directory(path)
            raise read_only(path, "only names can be removed")
        with os_errors(path):
            store = await self._lazy.writing()
            await store.images.delete(found.image.name)

    @uninterrupted  # calls with `**options` would leave their coroutines unawaited
    async def _rm(
        self,
        path: Any,
        recursive: bool = False,
        batch_size: int | None = None,
        maxdepth: int | None = None,
        **options: Any,
    ) -> None:
        """Remove one name or, with `recursive`, all names in a directory. Raises the errors of `_rm_file` before it removes any name."""
        if maxdepth is not None:
            await super()._rm(path, recursive=recursive, batch_size=batch_size, maxdepth=maxdepth, **options)
        else:
            await self._remove(await self._removed(path, recursive=recursive))

    async def _removed(self, path: Any, *, recursive: bool) -> list[str]:
        """Return the names to remove for the paths."""
        names: list[str] = []
        for each in [path] if isinstance(path, str) else path:
            paths = await self._glob(each) if has_magic(each) else [each]
            if not paths:
                raise not_found(each)
            for one in paths:
                names += await self._removed_with(one, recursive=recursive)
        return list(dict.fromkeys(names))

    async def _removed_with(self, path: str, *, recursive: bool) -> list[str]:
        store, found = await self._found(path)
        if found.type == "directory" and not recursive:
            raise is_directory(path)
        own = [] if found.image is None else [found.image.name]
        below = await self._finder.names_below(store, found.path) if recursive else []
        if not own and not below:
            raise read_only(path, "only names can be removed")
        return own + below

    async def _remove(self, names: list[str]) -> None:
        store = await self._lazy.writing()

        async def remove(name: str) -> None:
            with suppress(NotFound):  # another task was faster
                await store.images.delete(name)

        await map_concurrently(names, remove, concurrency=_AT_ONCE)

    async def _mkdir(self, path: str, create_parents: bool = True, **options: Any) -> None:
        """Do nothing: a directory of names exists as long as a name is in it."""


def _check_bytes(value: object) -> None:
    """Refuse text, which the store would take as the path of a file. Raises TypeError."""
    with memoryview(value):  # type: ignore[arg-type]  # it raises TypeError for anything without bytes
        pass


def _descriptor(found: Found) -> Descriptor:
    if found.image is not None:
        return found.image.target
    if found.digest is None:
        raise not_found(found.path)
    media_type = found.media_type or (None if found.tree is not None else MEDIA_TYPE)
    return Descriptor(digest=found.digest, size=found.size if found.tree is None else None, media_type=media_type)
