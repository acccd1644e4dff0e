"""Differences between trees and directories."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import AsyncExitStack, aclosing
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from steelyard._runtime.calls import CALL_BYTES, run
from steelyard._runtime.chunks import in_async_batches, in_batches
from steelyard._runtime.files import open_regular
from steelyard._runtime.iteration import next_item
from steelyard.digest import Algorithm, Digest
from steelyard.hashing import Hasher, digest_of
from steelyard.model import DEFAULT_ALGORITHM
from steelyard.trees._entry import WHOLE_BYTES, Entry, order_of
from steelyard.trees._tree import Tree
from steelyard.trees._walk import WalkEntry, check_utf8, error_of, walk

__all__ = ("Change", "TreeOrDirectory", "diff")

TreeOrDirectory: TypeAlias = "Tree | str | os.PathLike[str]"
"""A tree, or the path of a directory."""

_BATCH = 256
"""The most pairs of entries that are compared together."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that differs between two trees.

    Attributes:
        path: the path of the entry.
        before: the entry of the first tree, or None if this tree lacks the path.
        after: the entry of the second tree, or None if this tree lacks the path.
    """

    path: str
    before: Entry | None
    after: Entry | None

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        """Whether the second tree has added, removed or changed the entry."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


class _Side(NamedTuple):
    """An entry of one side. If this side is a directory, `file` is the path of the file."""

    entry: Entry
    file: str | None = None


_Pair: TypeAlias = tuple[_Side | None, _Side | None]


class _ToHash(NamedTuple):
    """A file to hash."""

    path: str
    algorithm: Algorithm
    size: int


async def diff(before: TreeOrDirectory, after: TreeOrDirectory) -> AsyncGenerator[Change, None]:
    """Iterate over the entries that differ, in the order of a tree.

    A file in a directory is read only if it does not differ by its size, its executable bit, its time or its owner. Its entry never has a
    digest. Times and owners are compared if both sides have them, but not between two directories. Sockets, devices and named pipes have
    no entries.

    Args:
        before: the first tree or directory.
        after: the second tree or directory.

    Raises:
        OSError: a directory or a file cannot be read.
        InvalidArgument: a name in a directory is not UTF-8.
        NotFound, InvalidDocument, LimitExceeded, DataCorrupt: as in `Tree.entries`.
    """
    async with aclosing(in_async_batches(_merged(before, after), lambda _: 0, _BATCH, 1)) as batches:
        async for pairs in batches:
            for change in await _changes(pairs):
                yield change


async def _changes(pairs: list[_Pair]) -> list[Change]:
    """Return the changes of the pairs that differ."""
    alike = [_may_be_same(pair) for pair in pairs]
    digests = await _digests(pair for pair, is_alike in zip(pairs, alike, strict=True) if is_alike)
    found = []
    for (old, new), is_alike in zip(pairs, alike, strict=True):
        if is_alike and _digest_in(old, digests) == _digest_in(new, digests):
            continue
        before, after = (None if side is None else side.entry for side in (old, new))
        if (entry := before or after) is not None:
            found.append(Change(path=entry.path, before=before, after=after))
    return found


def _may_be_same(pair: _Pair) -> bool:
    """Return whether two entries differ at most in the bytes of their files."""
    old, new = pair
    if old is None or new is None:
        return False
    one, other = old.entry, new.entry
    if (one.kind, one.size, one.executable, one.target) != (other.kind, other.size, other.executable, other.target):
        return False
    if old.file is not None and new.file is not None:
        return True
    return not (_differ(one.mtime_ns, other.mtime_ns) or _differ(one.owner, other.owner))


def _differ(one: object, other: object) -> bool:
    """Return whether two values are both known, and differ."""
    return one is not None and other is not None and one != other


def _digest_in(side: _Side | None, digests: dict[str, Digest]) -> Digest | None:
    """Return the digest of an entry. Two trees with different algorithms never have equal digests."""
    if side is None:
        return None
    return side.entry.digest if side.file is None else digests.get(side.file)


async def _digests(pairs: Iterable[_Pair]) -> dict[str, Digest]:
    """Return the digests of files in directories. The entry on the other side determines the algorithm."""
    small: list[_ToHash] = []
    large: list[_ToHash] = []
    for pair in pairs:
        known = next((side.entry.digest for side in pair if side is not None and side.entry.digest is not None), None)
        algorithm = DEFAULT_ALGORITHM if known is None else known.algorithm
        for side in pair:
            if side is not None and side.file is not None and side.entry.kind == "file":
                (small if (side.entry.size or 0) <= WHOLE_BYTES else large).append(
                    _ToHash(side.file, algorithm, side.entry.size or 0)
                )
    found: dict[str, Digest] = {}
    for batch in in_batches(small, lambda each: each.size, _BATCH, CALL_BYTES):
        found |= await run(_hash_small, batch)
    for each in large:
        found[each.path] = await digest_of(each.path, algorithm=each.algorithm)
    return found


def _hash_small(files: list[_ToHash]) -> dict[str, Digest]:
    """Hash small files, on a thread."""
    found = {}
    for each in files:
        hasher = Hasher(each.algorithm)
        file = open_regular(each.path)
        if file is None:
            continue  # it is no longer a regular file
        with file:
            hasher.update(file.read(WHOLE_BYTES + 1))
        found[each.path] = hasher.digest()
    return found


async def _merged(before: TreeOrDirectory, after: TreeOrDirectory) -> AsyncGenerator[_Pair, None]:
    """Iterate over the entries of both sides in order, with equal paths in one pair."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(aclosing(_entries(side))) for side in (before, after)]
        old, new = await _next(first), await _next(second)
        while old is not None or new is not None:
            is_old = new is None or (old is not None and order_of(old.entry.path) <= order_of(new.entry.path))
            is_new = old is None or (new is not None and order_of(new.entry.path) <= order_of(old.entry.path))
            yield (old if is_old else None), (new if is_new else None)
            if is_old:
                old = await _next(first)
            if is_new:
                new = await _next(second)


async def _next(sides: AsyncGenerator[_Side, None]) -> _Side | None:
    try:
        return await next_item(sides)
    except StopAsyncIteration:
        return None


async def _entries(side: TreeOrDirectory) -> AsyncGenerator[_Side, None]:
    if isinstance(side, Tree):
        async with aclosing(side.entries()) as entries:
            async for entry in entries:
                yield _Side(entry)
        return
    top = os.fspath(side)
    found = walk(top, None)
    while part := await run(_take, found, len(os.path.join(top, ""))):  # noqa: PTH118  # a path as the caller named it
        for each in part:
            yield each


def _take(found: Iterator[list[WalkEntry]], prefix: int) -> list[_Side]:
    """Return the next entries of a directory, on a thread; empty at the end."""
    for part in found:
        if sides := [side for entry in part if (side := _side(entry, prefix)) is not None]:
            return sides
    return []


def _side(found: WalkEntry, prefix: int) -> _Side | None:
    source, kind, identity, mode, owner, detail = found
    if kind == "error":
        raise error_of(source, detail)
    path = source[prefix:]
    check_utf8(path, source)
    if kind == "link":
        check_utf8(str(detail), source)
        return _Side(Entry(path=path, kind="link", target=str(detail)))
    if kind == "directory":
        return _Side(Entry(path=path, kind="directory"))
    if identity is None:
        return None
    entry = Entry(path=path, size=identity[2], executable=bool(mode & 0o100), mtime_ns=identity[3], owner=owner)
    return _Side(entry, source)
