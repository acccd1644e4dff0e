"""A tree of 100,000 files: its documents are read once, and the event loop goes on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from pathlib import Path

import anyio
import pytest
from support.made_trees import build_tree
from support.stalls import watched
from trees.test_large import file

from steelyard import LocalStore
from steelyard.fs import SteelyardFileSystem
from steelyard.images.leases import LeaseGuard
from steelyard.trees._tree import Tree

pytestmark = pytest.mark.slow

DIRECTORIES, FILES = 1000, 100
SECONDS = 60
"""A bound that a slow machine keeps."""


async def put_large(store: LocalStore) -> None:
    """Store the documents of the tree, and a flat directory in it. All of its files are one blob."""
    await store.put(b"data")
    paths = [f"d{number:04d}/f{place:03d}.txt" for number in range(DIRECTORIES) for place in range(FILES)]
    paths += [f"flat/{number:05d}" for number in range(20_000)]
    await store.images.assign({"large": await build_tree(LeaseGuard(store), (file(path, b"data") for path in paths))})


def test_its_documents_are_read_once_and_the_loop_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    entries_in = Tree._entries_in

    async def counted(tree: Tree, descriptor, manifest):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        reads.append(descriptor.digest)
        return await entries_in(tree, descriptor, manifest)

    monkeypatch.setattr(Tree, "_entries_in", counted)

    async def timed(work: Awaitable[object]) -> None:
        began = time.monotonic()
        loop = await watched(work)
        assert time.monotonic() - began < SECONDS
        # Parsing a manifest is on another thread; what is left is sorting, and the dicts of some entries.
        assert loop.longest < 0.2, loop

    async def main() -> None:
        async with LocalStore(tmp_path / "store", durability="process-crash") as store:
            await put_large(store)
            files = SteelyardFileSystem(store, asynchronous=True)

            async def cat() -> None:
                assert b"data" == await files._cat_file("large/d0777/f042.txt")

            async def ls() -> None:
                assert DIRECTORIES + 1 == len(await files._ls("large"))
                assert 20_000 == len(await files._ls("large/flat"))

            async def glob() -> None:
                assert DIRECTORIES == len(await files._glob("large/d*/f007.txt"))

            async def find() -> None:
                assert DIRECTORIES * FILES + 20_000 == len(await files._find("large", detail=True))

            async def read() -> None:
                paths = [f"large/d{number:04d}/f000.txt" for number in range(DIRECTORIES)]
                assert {b"data"} == set(await files._cat_ranges(paths, 0, None))

            for work in (cat, ls, find, read, glob, cat):
                await timed(work())
            assert len(reads) == len(set(reads)) > 10

    anyio.run(main)
