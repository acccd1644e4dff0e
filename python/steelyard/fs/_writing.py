"""New bytes. When they are complete, they become a blob and the target of a name; otherwise they are discarded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from uuid import uuid4

from anyio import CancelScope

from steelyard.content import Store, Writer
from steelyard.errors import AlreadyExists, InvalidArgument, NotFound, UnexpectedDigest
from steelyard.fs._errors import is_directory, os_errors, read_only
from steelyard.fs._finder import Finder
from steelyard.fs._paths import Target, candidates, parse
from steelyard.hashing import digest_of
from steelyard.images.leases import LeaseGuard, own_or_new_guard
from steelyard.model import Descriptor, OnProgress, PutResult, Source
from steelyard.names import check_name

__all__ = ("MEDIA_TYPE", "NewBlob", "check_new", "finish_batch", "put_source", "put_sources", "set_name")

MEDIA_TYPE = "application/octet-stream"
"""The media type of a new name, if the caller passes no other."""


async def check_new(store: Store, finder: Finder, path: str, *, create: bool) -> Target:
    """Return the target of a path to write to.

    Args:
        store: the store.
        finder: finds trees.
        path: a name, an algorithm with a colon, or a digest.
        create: whether a name must be new.

    Raises:
        IsADirectoryError: the name holds a tree.
        FileExistsError: with `create`, the name exists.
        OSError: the path is in a tree (EROFS).
        InvalidArgument: the path is not a valid name.
    """
    target = parse(path)
    if not target.path:
        raise is_directory(path)
    if target.digest is not None and target.inner:
        raise read_only(path, "trees do not change")
    if not target.is_name:
        return target
    check_name(target.path)
    if not all(target.path.split("/")):
        raise InvalidArgument(f"{path}: a name with an empty part cannot be listed")
    for name, inner in candidates(target.path):
        try:
            image = await store.images.get(name)
        except NotFound:
            continue
        if not inner and create:
            with os_errors(path):
                raise AlreadyExists(image.target.digest, name=name)
        if await finder.tree(store, image.target) is not None:
            raise read_only(path, f"{name} holds a tree, and trees do not change") if inner else is_directory(path)
    return target


async def set_name(store: Store, name: str, target: Descriptor, *, create: bool) -> None:
    """Set a name to a descriptor. With `create`, raise AlreadyExists if the name exists."""
    if create:
        await store.images.create(name, target)
    else:
        await store.images.assign({name: target}, overwrite=True)


async def put_source(
    store: Store,
    target: Target,
    source: Source,
    *,
    create: bool,
    media_type: str = MEDIA_TYPE,
    on_progress: OnProgress | None = None,
) -> PutResult:
    """Store a source and set the name."""
    async with own_or_new_guard(store) as guard:
        result = await _put(guard.store, target, source, on_progress=on_progress)
        await _finish(guard, target, result, create=create, media_type=media_type)
        return result


async def put_sources(
    store: Store, sources: Sequence[tuple[Target, Source]], *, create: bool, media_type: str = MEDIA_TYPE
) -> list[PutResult]:
    """Store many sources, and set all names in one step; return the results in the same order."""
    if len(sources) == 1:
        ((target, source),) = sources
        return [await put_source(store, target, source, create=create, media_type=media_type)]
    found: dict[int, PutResult] = {}
    places = [place for place, (target, _) in enumerate(sources) if target.is_name]
    async with own_or_new_guard(store) as guard:
        many = guard.store.put_many([sources[place][1] for place in places], errors="yield")
        async with aclosing(many) as results:
            async for one in results:
                found[places[one.index]] = one.result  # the first error ends the call
        for place, (target, source) in enumerate(sources):
            if place not in found:
                found[place] = await _put(guard.store, target, source)
        held = {sources[place][0].path: _held(found[place], media_type) for place in places}
        if create:
            for name, descriptor in held.items():
                await guard.store.images.create(name, descriptor)
        elif held:
            await guard.store.images.assign(held, overwrite=True)
    return [found[place] for place in range(len(sources))]


async def _put(store: Store, target: Target, source: Source, on_progress: OnProgress | None = None) -> PutResult:
    if target.digest is not None:
        # `put` does not read the source if the blob is already stored.
        found = await digest_of(source, algorithm=target.digest.algorithm)
        if found != target.digest:
            raise UnexpectedDigest(target.path, expected=target.digest, actual=found)
    return await store.put(source, expected=target.digest, algorithm=target.algorithm, on_progress=on_progress)


def _held(result: PutResult, media_type: str) -> Descriptor:
    return Descriptor(digest=result.digest, size=result.size, media_type=media_type)


async def _finish(guard: LeaseGuard, target: Target, result: PutResult, *, create: bool, media_type: str) -> None:
    if target.is_name:
        await set_name(guard.store, target.path, _held(result, media_type), create=create)


async def finish_batch(blobs: Sequence[NewBlob]) -> list[PutResult]:
    """Store all blobs, create the names that must be new, one by one, and then set the other names in one step."""
    async with AsyncExitStack() as stack:
        results = [await blob.store_with(stack) for blob in blobs]
        held: dict[str, Descriptor] = {}
        for blob, result in zip(blobs, results, strict=True):
            if blob.target.is_name and blob.create:
                await blob.store.images.create(blob.target.path, _held(result, blob.media_type))
            elif blob.target.is_name:
                held[blob.target.path] = _held(result, blob.media_type)
        if held:
            await blobs[0].store.images.assign(held, overwrite=True)
    return results


class NewBlob:
    """Bytes that arrive in pieces, in an ingest under a lease. The ingest becomes a blob or is discarded, and the lease ends then.

    Attributes:
        store: the store.
        target: the path to write to.
        create: whether the name must be new when the bytes are complete.
        media_type: the media type that the name gets.
    """

    def __init__(self, store: Store, target: Target, *, create: bool, media_type: str) -> None:
        self.store: Store = store
        self.target: Target = target
        self.create: bool = create
        self.media_type: str = media_type
        self._ref = f"fsspec:{uuid4().hex}"
        self._stack = AsyncExitStack()
        self._guard: LeaseGuard | None = None
        self._writer: Writer | None = None
        self._is_begun = False

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        if self._writer is None:
            digest = self.target.digest
            algorithm = self.target.algorithm if digest is None else digest.algorithm
            self._is_begun = True
            self._guard = await self._stack.enter_async_context(own_or_new_guard(self.store))
            # CANCEL: the ingest may exist although no writer was returned; `discard` aborts it by its ref.
            self._writer = await self._guard.store.writer(self._ref, algorithm=algorithm)
            self._stack.push_async_callback(self._writer.aclose)
        await self._writer.write(data)

    async def finish(self, rest: bytes = b"") -> PutResult:
        """Append the rest, store the blob and set the name; both are durable on return.

        Raises:
            AlreadyExists: a name that must be new exists.
            UnexpectedDigest: the path is a digest, and the bytes have another one.
        """
        if self._writer is None or self._guard is None:
            return await put_source(self.store, self.target, rest, create=self.create, media_type=self.media_type)
        await self.write(rest)
        async with self._stack:
            result = await self._commit(self._writer)
            await _finish(self._guard, self.target, result, create=self.create, media_type=self.media_type)
        self._is_begun = False
        return result

    async def store_with(self, stack: AsyncExitStack) -> PutResult:
        """Store the blob. The stack ends the lease that protects it."""
        if self._writer is None:
            guard = await stack.enter_async_context(own_or_new_guard(self.store))
            return await _put(guard.store, self.target, b"")
        stack.push_async_exit(self._stack.pop_all())
        return await self._commit(self._writer)

    async def _commit(self, writer: Writer) -> PutResult:
        size = writer.offset
        try:
            info = await writer.commit(expected=self.target.digest)
        except AlreadyExists as there:
            return PutResult(digest=there.digest, size=size, new=False)
        return PutResult(digest=info.digest, size=info.size, new=True)

    async def discard(self) -> None:
        """Discard the bytes, unless the blob is stored. May be called twice."""
        begun, self._is_begun = self._is_begun, False
        if not begun:
            return
        with CancelScope(shield=True):
            async with self._stack:
                if self._writer is not None:
                    await self._writer.aclose()
                with suppress(NotFound):  # the ingest was committed, or never started
                    await self.store.abort(self._ref)
