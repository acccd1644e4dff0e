"""`Opening`: one call that is awaited or entered, once, and does nothing before."""

from __future__ import annotations

import asyncio
import gc
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import anyio
import pytest
import trio
from anyio.abc import AsyncResource

from steelyard import Descriptor, Digest, LocalStore, MemoryStore, ReaderAt, Store, open_writer
from steelyard._runtime.backend import protect, uninterrupted
from steelyard._runtime.calls import counts
from steelyard.content import opening

pytestmark = pytest.mark.anyio


class Resource(AsyncResource):
    """Counts what happens to it."""

    def __init__(self) -> None:
        self.entered = self.closed = 0

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def aclose(self) -> None:
        self.closed += 1
        await anyio.lowlevel.checkpoint()


opened: list[Resource] = []


@opening
async def resource(*, fail: bool = False) -> Resource:
    """Open a resource."""
    await anyio.lowlevel.checkpoint()
    if fail:
        raise FileNotFoundError
    opened.append(Resource())
    return opened[-1]


@pytest.fixture(autouse=True)
def _none_opened() -> Iterator[None]:
    opened.clear()
    yield
    opened.clear()


async def test_a_use_before_it_is_open_says_how_to_open_it() -> None:
    unopened: Any = resource()

    with pytest.raises(AttributeError, match="resource is not open yet, so it has no 'read_at': await it, or enter it"):
        await unopened.read_at(0, 1)
    with pytest.raises(TypeError, match="resource is not open yet, so it has no 'send'"):
        await unopened.send(b"data")
    assert not hasattr(unopened, "offset")
    assert opened == []
    assert [await unopened] == opened


async def test_an_entered_opening_opens_once_and_closes() -> None:
    async with resource() as found:
        assert opened == [found]
        assert (1, 0) == (found.entered, found.closed)

    assert (1, 1) == (found.entered, found.closed)


async def test_an_awaited_opening_is_the_callers_to_close() -> None:
    found = await resource()
    assert (0, 0) == (found.entered, found.closed)
    async with found:
        pass

    assert opened == [found]
    assert (1, 1) == (found.entered, found.closed)


async def test_an_error_in_the_block_closes_and_passes() -> None:
    with pytest.raises(ZeroDivisionError):
        async with resource():
            raise ZeroDivisionError

    assert 1 == opened[0].closed


@pytest.mark.parametrize("first", ["await", "enter"])
@pytest.mark.parametrize("second", ["await", "enter"])
async def test_a_second_use_is_an_error_that_says_so(first: str, second: str) -> None:
    call = resource()

    async def use(how: str) -> None:
        if how == "await":
            await (await call).aclose()
        else:
            async with call:
                pass

    await use(first)
    with pytest.raises(RuntimeError, match="resource: already awaited or entered; call it again"):
        await use(second)
    assert 1 == len(opened)


async def test_an_opening_that_failed_is_used_up() -> None:
    call = resource(fail=True)
    with pytest.raises(FileNotFoundError):
        await call
    with pytest.raises(RuntimeError, match="call it again"):
        await call


def test_an_unused_opening_opens_nothing_and_says_so_in_a_resource_warning() -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        resource()  # type: ignore[unused-awaitable]  # that is the mistake
        gc.collect()

    assert [ResourceWarning] == [each.category for each in found]
    assert "resource: neither awaited nor entered, so nothing was opened" == str(found[0].message)
    assert not opened


def test_a_wrong_argument_is_refused_when_it_is_awaited() -> None:
    wrong: Any = {"unknown": 1}
    call = resource(**wrong)

    with pytest.raises(TypeError, match="unknown"):
        anyio.run(lambda: call)


async def test_an_opening_says_what_it_is_of() -> None:
    call = resource()
    assert "<Opening of resource>" == repr(call)
    call.close()  # which also says that it is not needed any more
    with pytest.raises(RuntimeError):
        await call


async def test_what_starts_tasks_takes_an_opening_for_a_coroutine(anyio_backend_name: str) -> None:
    async def each() -> None:
        assert isinstance(await resource(), Resource)

    if anyio_backend_name == "asyncio":
        assert isinstance(await asyncio.create_task(resource()), Resource)
        assert isinstance((await asyncio.gather(resource(), resource()))[0], Resource)
    else:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(resource)
        assert 1 == len(opened)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(each)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await resource()
    assert scope.cancelled_caught


async def test_a_store_whose_author_forgot_the_decorator_has_both_forms() -> None:
    class Forgetful(MemoryStore):
        async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:  # type: ignore[override]  # that is the mistake
            return await super().reader_at(blob)

    store: Store = Forgetful()
    digest = (await store.put(b"data")).digest

    async with store.reader_at(digest) as reader:
        assert b"data" == await reader.read_at(0, 4)
    async with await store.reader_at(digest) as reader:
        assert 4 == reader.size


async def test_both_forms_take_the_same_hops(tmp_path: Path) -> None:
    async def hops(form: str) -> int:
        before = counts()
        call = open_writer(store, form) if form == "open_writer" else store.writer(form)
        async with await call if form == "awaited" else call as writer:
            await writer.write(form.encode())
            await writer.commit()
        return sum(counts().values()) - sum(before.values())

    async with LocalStore(tmp_path) as store:
        await hops("the first")
        found = {form: await hops(form) for form in ("entered", "awaited", "open_writer")}

    assert 1 == len(set(found.values())), found


def test_ctrl_c_on_trio_comes_at_a_checkpoint_of_an_opening_only() -> None:
    """In both forms; a resource that is open is closed."""
    protect()

    @opening
    @uninterrupted
    async def interrupted() -> Resource:
        signal.raise_signal(signal.SIGINT)
        opened.append(Resource())
        return opened[-1]

    async def enter() -> None:
        async with interrupted():
            await trio.lowlevel.checkpoint()

    async def wait() -> None:
        async with await interrupted():
            await trio.lowlevel.checkpoint()

    for use in (enter, wait):
        with pytest.raises(KeyboardInterrupt):
            trio.run(use)
    assert [1, 1] == [each.closed for each in opened]
