"""Every open object, each of its public methods, each way to start a process: what a child does with what it inherited."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import AsyncGenerator, Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import FunctionType
from typing import Any

import anyio
import pytest
from support.forks import forked, forked_run

import steelyard
from steelyard import FailedPrecondition, LocalStore, MemoryStore, images
from steelyard._runtime.fork import _ENDS, ProcessBound, _is_public
from steelyard.base import BaseStore
from steelyard.content import ReaderAt, Store, Writer
from steelyard.hashing import Hasher
from steelyard.images.layout import DirectoryLayout, TarLayout
from steelyard.leases import Leases
from steelyard.names import ImageNames

WITHOUT_FILES = (
    *("steelyard.memory", "steelyard.testing", "steelyard.images.layout._memory", "steelyard.transfer._memory_reader"),
    "steelyard.web._verified",
)
"""Where objects hold nothing but memory, which a child has a copy of, or are only there for tests."""


def subclasses(base: type) -> Iterator[type]:
    """Yield all classes of the package below `base`."""
    below: type
    for below in base.__subclasses__():
        if below.__module__.startswith("steelyard."):
            yield below
            yield from subclasses(below)


def import_all() -> None:
    for module in pkgutil.walk_packages(steelyard.__path__, "steelyard."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


import_all()
BOUND = sorted(set(subclasses(ProcessBound)), key=lambda each: each.__qualname__ + each.__module__)


def empty(kind: type) -> Any:
    """Return an object of that class without contents."""
    made: Any = object.__new__(kind) if not issubclass(kind, ProcessBound) else ProcessBound.__new__(kind)
    return made


def methods(kind: type) -> Iterator[str]:
    for name in dir(kind):
        if _is_public(name) and isinstance(getattr(kind, name), FunctionType):
            yield name


def outcome(call: Callable[[], Any]) -> str:
    """Return what came of a call: the name of the error, or of the result's type."""
    try:
        result = call()
    except Exception as error:  # noqa: BLE001  # its name is the answer
        return type(error).__name__
    if asyncio.iscoroutine(result):
        result.close()
    return type(result).__name__


@pytest.mark.parametrize("kind", BOUND, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_each_public_method_of_each_class_is_refused_in_a_child(kind: type) -> None:
    """The refusal comes before a method looks at anything, so that an object without contents will do."""
    inherited = empty(kind)
    names = list(methods(kind))
    assert names

    found = forked(lambda: {name: outcome(getattr(inherited, name)) for name in names})

    expected = {name: "FailedPrecondition" for name in names if name not in _ENDS}
    assert expected == {name: came for name, came in found.items() if name not in _ENDS}
    assert {"coroutine", "NoneType"} >= {came for name, came in found.items() if name in _ENDS}


@pytest.mark.parametrize("kind", BOUND, ids=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
def test_no_open_object_can_be_pickled(kind: type) -> None:
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(empty(kind))


@pytest.mark.parametrize("interface", [Store, Writer, ReaderAt, ImageNames, Leases, images.layout.LayoutDriver])
def test_everything_that_has_files_or_servers_open_knows_its_process(interface: type) -> None:
    """A class that is added later is found here, unless it holds memory only."""
    concrete = [
        each
        for each in subclasses(interface)
        if not each.__module__.startswith(WITHOUT_FILES)
        and each is not BaseStore
        and not getattr(each, "__abstractmethods__", None)
        and not getattr(each, "_is_protocol", False)
    ]

    assert [] == [each.__qualname__ for each in concrete if not issubclass(each, ProcessBound)]


class Inherited:
    """Objects that are open at the fork; a child may use them in any way."""

    store: LocalStore


@pytest.mark.anyio
async def test_open_iterators_are_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    async with LocalStore(tmp_path / "store") as store:
        stored = [result async for result in store.put_many([b"%d" % number for number in range(300)])]
        iterators: list[AsyncGenerator[Any, None]] = [
            store.walk(),
            store.verify_all(),
            store.put_many([b"more"] * 50),
        ]
        for iterator in iterators:
            await anext(iterator)
        first = stored[0].result
        assert first is not None
        reader = await store.reader_at(first.digest)

        uses: list[Callable[[], Any]] = [
            *(iterator.__anext__ for iterator in iterators),
            store.images.list,
            reader.stream,
        ]

        async def child() -> list[str]:
            found = []
            for use in uses:
                try:
                    result = use()
                    if hasattr(result, "__await__"):
                        await result
                    found.append("nothing")
                except FailedPrecondition:
                    found.append("refused")
            return found

        assert ["refused"] * 5 == forked_run(child)

        rest = [info async for info in iterators[0]]
        assert 299 == len(rest)
        for iterator in iterators[1:]:
            async for _ in iterator:
                pass
        assert stored[0].source == await reader.read_at(0, 3)
        await reader.aclose()
        assert (await store.put(b"afterwards")).new


def _in_child(answers: Any) -> None:
    try:
        Inherited.store.notes()
        answers.put("nothing")
    except FailedPrecondition:
        answers.put("refused")


def test_multiprocessing_by_fork_is_refused_and_by_other_ways_cannot_pass_a_store(tmp_path: Path) -> None:
    async def main() -> None:
        async with LocalStore(tmp_path) as store:
            Inherited.store = store
            context = multiprocessing.get_context("fork")
            answers = context.SimpleQueue()
            process = context.Process(target=_in_child, args=(answers,))
            process.start()

            assert "refused" == answers.get()

            process.join(30)
            assert 0 == process.exitcode
            answers.close()
            # The other ways, spawn and forkserver, pass objects through this pickler.
            with pytest.raises(TypeError, match="cannot pickle 'LocalStore'"):
                ForkingPickler.dumps(store)
            assert (await store.put(b"afterwards")).new

    anyio.run(main)


def test_a_hasher_in_a_child_is_a_copy_of_its_own() -> None:
    hasher = Hasher("sha256")
    hasher.update(b"before ")

    def child() -> str:
        hasher.update(b"of the child")
        return hasher.digest().encoded

    assert hashlib.sha256(b"before of the child").hexdigest() == forked(child)

    hasher.update(b"of the parent")
    assert hashlib.sha256(b"before of the parent").hexdigest() == hasher.digest().encoded


def test_a_memory_store_works_in_a_child() -> None:
    async def use(store: MemoryStore) -> bytes:
        return await store.get((await store.put(b"bytes")).digest)

    store = MemoryStore()

    assert b"bytes" == forked(lambda: anyio.run(use, store))
    assert issubclass(DirectoryLayout, ProcessBound)
    assert issubclass(TarLayout, ProcessBound)
