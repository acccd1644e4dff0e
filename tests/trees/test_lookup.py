"""Look-ups in trees, beside the list of all entries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard import Descriptor, Digest, MemoryStore
from steelyard._runtime.lru import LruCache
from steelyard.content import Opening, ReaderAt
from steelyard.errors import InvalidDocument
from steelyard.trees import Entry, tree_of
from steelyard.trees._entry import order_of
from steelyard.trees._lookup import TreeLookup, lookup_of

from .made import index_of, keep, manifest_of
from .test_large import build, file, many

pytestmark = pytest.mark.anyio


class Counting(MemoryStore):
    """A store that counts what is opened."""

    opened = 0

    def reader_at(self, blob: Descriptor | Digest | str) -> Opening[ReaderAt]:
        self.opened += 1
        return super().reader_at(blob)


@pytest.fixture
async def store() -> AsyncIterator[Counting]:
    """Give an empty store."""
    async with Counting() as store:
        yield store


async def look(store: MemoryStore, target: Descriptor, most: int = 1 << 20) -> TreeLookup:
    return await lookup_of(store, await tree_of(store, target), LruCache(most))


def children_of(entries: list[Entry], directory: str) -> dict[str, str]:
    """Return the name and kind of each entry directly in a directory, the slow way."""
    prefix = f"{directory}/" if directory else ""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.path.startswith(prefix) and entry.path != directory:
            head, below, _ = entry.path.removeprefix(prefix).partition("/")
            found[prefix + head] = "directory" if below else entry.kind
    return found


async def compare(lookup: TreeLookup, entries: list[Entry], directories: set[str]) -> None:
    for entry in entries:
        assert entry == await lookup.find(entry.path)
    for directory in directories:
        found = await lookup.find(directory)
        assert found is not None
        assert "directory" == found.kind
        async with aclosing(lookup.children(directory)) as children:
            listed = [entry async for entry in children]
        assert sorted(listed, key=lambda entry: order_of(entry.path)) == listed
        assert children_of(entries, directory) == {entry.path: entry.kind for entry in listed}
        async with aclosing(lookup.below(directory)) as below:
            paths = [entry.path async for entry in below]
        assert [each.path for each in entries if each.path.startswith(f"{directory}/") or not directory] == paths


def above(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:place]) for place in range(len(parts))}


NAMES = st.text(st.sampled_from("ab\x01 ~é"), min_size=1, max_size=3)


@given(st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.booleans()), st.integers(1, 5))
def test_small_trees_in_any_number_of_manifests(paths: dict[str, bool], parts: int) -> None:
    """Whatever the names: one that begins as another, that sorts between a directory and what is in it, or is not ASCII."""
    kept = {
        path: is_file for path, is_file in paths.items() if not any(other.startswith(f"{path}/") for other in paths)
    }
    entries = sorted(
        (
            file(path, path.encode()) if is_file else Entry(path=path, kind="directory")
            for path, is_file in kept.items()
        ),
        key=lambda entry: order_of(entry.path),
    )

    async def run() -> None:
        store = MemoryStore()
        size = len(entries) // parts + 1
        manifests = []
        for place in range(0, max(1, len(entries)), size):
            some = entries[place : place + size]
            files = [(entry.path, entry.path.encode()) for entry in some if entry.kind == "file"]
            config = {"directories": [entry.path for entry in some if entry.kind == "directory"]}
            manifests.append(await manifest_of(store, files, config))
        await keep(store, "tree", await index_of(store, *manifests))
        lookup = await look(store, (await store.images.get("tree")).target, most=1)
        await compare(lookup, entries, {"", *(each for entry in entries for each in above(entry.path))})
        for missing in ("c", "a/c", "ab/c/d", "/", "a/", "\udce9"):
            assert await lookup.find(missing) is None or missing in kept

    anyio.run(run)


@pytest.mark.slow
async def test_a_path_of_a_large_tree_is_found_with_few_manifests(store: Counting) -> None:
    entries = sorted(many(20_000, 8), key=lambda entry: order_of(entry.path))
    target = await build(store, entries)
    lookup = await look(store, target)
    assert lookup.weight > 60
    store.opened = 0

    assert entries[77_777] == await lookup.find(entries[77_777].path)
    assert 2 * 10 > store.opened > 0  # manifests and their configs
    store.opened = 0
    assert entries[77_777] == await lookup.find(entries[77_777].path)
    assert 0 == store.opened
    async with aclosing(lookup.children("")) as children:
        assert 97 == len([entry async for entry in children])


async def test_what_is_kept_is_bounded_and_the_rest_is_read_again(store: Counting) -> None:
    entries = sorted(many(4000, 4), key=lambda entry: order_of(entry.path))
    kept: LruCache[str, list[Entry]] = LruCache(1)
    lookup = await lookup_of(store, await tree_of(store, await build(store, entries)), kept)
    async with aclosing(lookup.below("")) as below:
        assert [entry.path for entry in entries] == [entry.path async for entry in below]

    assert lookup.weight > 1
    assert 1 == len(kept)


async def test_tasks_that_want_the_same_manifest_read_it_once(store: Counting) -> None:
    entries = sorted(many(2000, 4), key=lambda entry: order_of(entry.path))
    lookup = await look(store, await build(store, entries))
    store.opened = 0
    async with anyio.create_task_group() as tasks:
        for entry in entries[:200]:
            tasks.start_soon(lookup.find, entry.path)

    assert 2 * lookup.weight >= store.opened


@pytest.mark.parametrize("second", ["a", "b", "a/x"])
async def test_manifests_out_of_order_end_in_an_error(store: Counting, second: str) -> None:
    first = await manifest_of(store, [("a/y", b"1"), ("b", b"2")])
    other = await manifest_of(store, [(second, b"3"), ("c", b"4")])
    await keep(store, "bad", await index_of(store, first, other))
    lookup = await look(store, (await store.images.get("bad")).target)

    with anyio.fail_after(30):
        for walk in (lookup.children, lookup.below):
            with pytest.raises(InvalidDocument, match="expected a path after"):
                async with aclosing(walk("")) as entries:
                    assert [entry async for entry in entries]


async def test_an_empty_manifest_between_others_is_passed_over(store: Counting) -> None:
    parts = [await manifest_of(store, [(path, b"1")] if path else []) for path in ("", "a", "", "", "b", "")]
    await keep(store, "tree", await index_of(store, *parts))
    lookup = await look(store, (await store.images.get("tree")).target)

    async with aclosing(lookup.children("")) as children:
        assert ["a", "b"] == [entry.path async for entry in children]
    assert await lookup.find("b") is not None
    assert await lookup.find("c") is None


async def test_thousands_of_empty_manifests_are_passed_over(store: Counting) -> None:
    empty, full = await manifest_of(store, []), await manifest_of(store, [("a", b"1")])
    await keep(store, "tree", await index_of(store, full, *[empty] * 3000))
    lookup = await look(store, (await store.images.get("tree")).target)

    assert await lookup.find("b") is None
    assert await lookup.find("a") is not None
