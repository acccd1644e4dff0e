"""A fork with an open store: the child can use nothing of it, and the parent goes on as if there were no child."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from support.forks import forked, forked_run

from steelyard import FailedPrecondition, LocalStore, Unavailable, Writer

HEAD, REST = b"a" * 1_000_000, b"b" * 3_000_000


class Opened:
    """The objects that a process has open when it forks."""

    store: LocalStore
    writer: Writer


def _drop(opened: Opened) -> None:
    del opened.writer
    gc.collect()


def _drop_all(opened: Opened) -> None:
    del opened.writer, opened.store
    gc.collect()


def _close(opened: Opened) -> None:
    anyio.run(opened.writer.aclose)


def _close_store(opened: Opened) -> None:
    anyio.run(opened.store.aclose)


def _leave(opened: Opened) -> None:
    async def leave() -> None:
        await opened.writer.__aexit__(None, None, None)

    anyio.run(leave)


@pytest.mark.parametrize("end", [_drop, _drop_all, _close, _close_store, _leave])
@pytest.mark.anyio
async def test_a_child_that_lets_go_of_what_it_inherited_leaves_the_parent_its_ref(
    tmp_path: Path, end: Callable[[Opened], None]
) -> None:
    opened = Opened()
    opened.store = await LocalStore(tmp_path).aopen()
    opened.writer = await opened.store.writer("ref")
    await opened.writer.write(HEAD)

    forked(lambda: end(opened))

    async with LocalStore(tmp_path) as other:
        with pytest.raises(Unavailable):
            await other.writer("ref")
    await opened.writer.write(REST)
    stored = await opened.writer.commit(labels={"a": "b"})
    await opened.store.verify(stored.digest)
    assert await opened.store.get(stored.digest) == HEAD + REST
    assert (await opened.store.info(stored.digest)).labels == {"a": "b"}
    await opened.store.aclose()


USES: list[Callable[[Writer], Awaitable[object]]] = [
    lambda writer: writer.write(b"child"),
    lambda writer: writer.truncate(0),
    lambda writer: writer.sync(),
    lambda writer: writer.digest(),
    lambda writer: writer.status(),
    lambda writer: writer.commit(),
]


@pytest.mark.anyio
async def test_a_child_changes_nothing_through_a_writer_of_its_parent(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        writer = await store.writer("ref")
        await writer.write(HEAD)
        await writer.sync()

        async def child() -> None:
            for use in USES:
                with pytest.raises(FailedPrecondition, match="before a fork"):
                    await use(writer)
            async with LocalStore(tmp_path) as own:
                assert [blob async for blob in own.walk()] == []

        forked_run(child)

        await writer.write(REST)
        stored = await writer.commit()
        assert [info.digest async for info in store.walk()] == [stored.digest]
        assert await store.get(stored.digest) == HEAD + REST


def test_a_ref_is_free_when_its_holder_dies_though_a_child_lives_on(tmp_path: Path) -> None:
    program = """
import anyio, os, sys
from steelyard import LocalStore
async def main():
    store = await LocalStore(sys.argv[1]).aopen()
    writer = await store.writer("ref")
    await writer.write(b"kept")
    await writer.sync()
    if os.fork() == 0:
        print(os.getpid(), flush=True)  # it no longer has what it inherited
        os.read(0, 1)
        os._exit(0)
    await anyio.sleep_forever()
anyio.run(main)
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        try:
            os.kill(child, 0)  # it lives

            async def take() -> int:
                async with LocalStore(tmp_path) as store, store.writer("ref") as writer:
                    return writer.offset

            assert anyio.run(take) == len(b"kept")
        finally:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


@pytest.mark.anyio
async def test_a_child_has_no_file_of_its_parents_store_open(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        stored = await store.put(HEAD, labels={"a": "b"})
        writer = await store.writer("ref")
        await writer.write(HEAD)
        reader = await store.reader_at(stored.digest)

        assert _open_under(tmp_path)
        assert [] == forked(lambda: _open_under(tmp_path))

        await reader.aclose()
        await writer.aclose()


def _open_under(root: Path) -> list[str]:
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        with suppress(OSError):
            found.append(str(entry.readlink()))
    return [path for path in found if path.startswith(str(root))]


@pytest.mark.anyio
async def test_a_child_of_a_child_is_distinguished_from_both(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        stored = await store.put(b"blob")

        async def grandchild(own: LocalStore) -> None:
            for inherited in (store, own):
                with pytest.raises(FailedPrecondition):
                    await inherited.get(stored.digest)
            async with LocalStore(tmp_path) as third:
                assert await third.get(stored.digest) == b"blob"

        async def child() -> None:
            async with LocalStore(tmp_path) as own:
                forked_run(lambda: grandchild(own))
                await own.put(b"of the child", labels={"a": "b"})

        forked_run(child)

        assert len([info async for info in store.walk("labels.a==b")]) == 1


@pytest.mark.anyio
async def test_parent_and_child_use_stores_of_their_own_on_one_root(tmp_path: Path) -> None:
    """SQLite in the child must lock the files again: the parent's last close would remove the log under the child."""
    (reading, writing), (going_on, go_on) = os.pipe(), os.pipe()
    store = await LocalStore(tmp_path).aopen()
    await store.put(b"before", labels={"of": "parent"})

    async def in_child() -> None:
        async with LocalStore(tmp_path) as own:
            await own.put(b"first of the child", labels={"of": "child"})
            os.write(writing, b"1")
            os.read(going_on, 1)
            for number in range(50):
                await own.put(b"%d" % number, labels={"of": "child"})
            assert len([info async for info in own.walk("labels.of==child")]) == 51

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, forked_run, in_child)
        await anyio.to_thread.run_sync(os.read, reading, 1)
        await store.put(b"meanwhile", labels={"of": "parent"})
        await store.aclose()
        os.write(go_on, b"1")
    for descriptor in (reading, writing, going_on, go_on):
        os.close(descriptor)

    async with LocalStore(tmp_path) as again:
        assert again.notes() == []
        assert len([info async for info in again.walk("labels.of==child")]) == 51
        assert len([info async for info in again.walk("labels.of==parent")]) == 2
