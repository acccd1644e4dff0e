"""A server that goes away, comes back, or is stuck: the errors of its clients, and the state that they leave."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from foreign.programs import root_only
from support.stalls import watched

from steelyard import Descriptor, Digest, FailedPrecondition, Image, InvalidArgument, LocalStore, MemoryStore, copy
from steelyard._runtime import calls
from steelyard.containerd.remote import RemoteStore
from steelyard.containerd.service import Server
from steelyard.errors import Unreachable
from steelyard.memory import MemoryImageNames
from steelyard.testing._values import data_of, digest_of
from steelyard.transfer import _put, open_writer
from steelyard_bench._peers._containerd import daemon

from .clock import Clock
from .wire import off_loop

pytestmark = pytest.mark.anyio

DIGEST = digest_of(b"data")


@pytest.fixture
def silent(short_path: Path) -> Iterator[str]:
    """Give a socket that takes connections and never says a word."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_path / "s"))
        listener.listen()
        yield str(short_path / "s")


async def stream(store: RemoteStore) -> None:
    """Read a blob through its verified stream."""
    async with store.reader_at(DIGEST) as reader:
        async for _ in reader.stream():
            pass


class RefusingNames(MemoryImageNames):
    """Image names that refuse to create ``c`` and to delete ``b``."""

    async def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        if name == "c":
            raise FailedPrecondition("c is refused")
        return await super().create(name, target, labels=labels)

    async def delete(self, name: str, *, expected: Digest | str | None = None) -> None:
        if name == "b":
            raise FailedPrecondition("b stays")
        await super().delete(name, expected=expected)


class RefusingStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self._refusing = RefusingNames()

    @property
    def images(self) -> MemoryImageNames:
        return self._refusing


async def test_an_assignment_that_fails_undoes_each_change_that_it_can(short_path: Path) -> None:
    target = Descriptor(digest=DIGEST, size=4, media_type="text/plain")

    async with (
        RefusingStore() as store,
        Server(store, short_path / "s") as server,
        RemoteStore(server.address) as remote,
    ):
        with pytest.raises(FailedPrecondition, match="c is refused") as raised:
            await remote.images.assign(dict.fromkeys("abc", target))

        assert ["b"] == [image.name for image in await remote.images.list()]
    (note,) = raised.value.__notes__
    assert note.startswith("image name b: the change was not undone: ")
    assert "b stays" in note


async def listed(store: RemoteStore) -> None:
    async for _ in store.walk():
        pass


def refused_in_a_child(call: Callable[[], object]) -> bool:
    """Fork, and return whether the call is refused in the child."""
    child = os.fork()
    if not child:
        try:
            call()
        except FailedPrecondition:
            os._exit(7)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def native_threads() -> list[str]:
    """Return the names of all threads of this process."""
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


CALLS: dict[str, Callable[[RemoteStore], Awaitable[Any]]] = {
    "info": lambda store: store.info(DIGEST),
    "get": lambda store: store.get(DIGEST),
    "put": lambda store: store.put(b"data"),
    "put of a stream": lambda store: store.put([b"data"]),
    "writer": lambda store: store.writer("ref"),
    "walk": listed,
    "delete": lambda store: store.delete(DIGEST),
    "infos": lambda store: store.infos([DIGEST]),
    "images": lambda store: store.images.list(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_not_there_is_named(short_path: Path, call: str) -> None:
    async with RemoteStore(short_path / "absent") as store:
        with pytest.raises(Unreachable) as caught:
            await CALLS[call](store)

    assert str(short_path / "absent") in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_stuck_is_not_waited_for_for_ever(silent: str, call: str) -> None:
    async with RemoteStore(silent, timeout=0.2, idle_timeout=0.2) as store:
        with anyio.fail_after(60), pytest.raises(Unreachable):
            await CALLS[call](store)


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a cancelled call wait a tenth of a second for its server, in place of two."""
    modules = [module for name, module in sys.modules.items() if name.startswith("steelyard.containerd.remote.")]
    for module in modules:
        if hasattr(module, "GRACE"):
            assert module.GRACE <= 2
            monkeypatch.setattr(module, "GRACE", 0.1)
    assert _put._ABORT_SECONDS <= 2
    monkeypatch.setattr(_put, "_ABORT_SECONDS", 0.1)


@pytest.mark.usefixtures("short_grace")
@pytest.mark.parametrize("call", CALLS)
async def test_a_cancelled_call_to_a_server_that_is_stuck_returns_soon(silent: str, call: str) -> None:
    async with RemoteStore(silent) as store:
        with anyio.fail_after(30), anyio.move_on_after(0.1) as scope:
            await CALLS[call](store)

        assert scope.cancelled_caught


async def test_waiting_for_a_ref_does_not_wait_for_a_server_that_is_not_there(short_path: Path) -> None:
    async with RemoteStore(short_path / "absent") as store:
        with anyio.fail_after(60), pytest.raises(Unreachable):
            await open_writer(store, "ref")


async def test_calls_find_a_thread_while_many_blocking_calls_wait(silent: str) -> None:
    async with RemoteStore(silent) as store, anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(store.get, DIGEST)
        with anyio.fail_after(60):
            assert 1 == await calls.run(len, b"x")
        tasks.cancel_scope.cancel()


async def test_a_server_that_was_restarted_is_found_again(local_store: LocalStore, short_path: Path) -> None:
    address = short_path / "content.sock"
    async with RemoteStore(address) as store:
        async with Server(local_store, address):
            digest = (await store.put(b"data")).digest
        with pytest.raises(Unreachable):
            await store.info(digest)
        async with Server(local_store, address):
            with anyio.fail_after(60):
                while True:
                    try:
                        assert b"data" == await store.get(digest)
                        break
                    except Unreachable:
                        await anyio.sleep(0.05)


async def test_an_ingest_goes_on_after_a_restart_of_the_server(local_store: LocalStore, short_path: Path) -> None:
    address = short_path / "content.sock"
    data = data_of(3_000_000)
    async with RemoteStore(address) as store:
        async with Server(local_store, address, grace_seconds=0.1):
            writer = await store.writer("ref", size=len(data))
            await writer.write(data[:1_000_000])
            await writer.sync()
        with pytest.raises(Unreachable):  # noqa: PT012  # whichever call meets it first
            await writer.write(data[1_000_000:])
            await writer.sync()
        await writer.aclose()
        async with Server(local_store, address):
            while True:
                try:
                    again = await open_writer(store, "ref")
                    break
                except Unreachable:
                    await anyio.sleep(0.05)
            async with again:
                assert 1_000_000 == again.offset
                await again.write(data[again.offset :])
                assert digest_of(data) == (await again.commit(size=len(data))).digest


@pytest.mark.slow
async def test_a_copy_goes_on_after_a_restart_of_containerd(tmp_path: Path) -> None:
    root_only("containerd")
    source = MemoryStore()
    data = data_of(8_000_000)
    digest = (await source.put(data)).digest
    with daemon(tmp_path) as address:
        async with RemoteStore(address) as store, store.writer(f"copy-{digest}", size=len(data)) as writer:
            await writer.write(data[:5_000_000])
    offsets: list[int] = []
    with daemon(tmp_path) as address:
        async with RemoteStore(address) as store:
            assert (await copy(source, digest, store, on_progress=lambda report: offsets.append(report.done))).new
            assert data == await store.get(digest)

    assert 5_000_000 == offsets[0]


async def test_a_writer_that_is_dropped_by_its_server_says_so_and_keeps_what_was_durable(
    local_store: LocalStore, short_path: Path, clock: Clock
) -> None:
    async with (
        Server(local_store, short_path / "s", idle_seconds=0.2),
        RemoteStore(short_path / "s") as store,
        await store.writer("ref") as writer,
    ):
        await writer.write(b"data")
        await writer.sync()
        await off_loop(clock.pass_until_idle)
        with anyio.fail_after(60), pytest.raises(Unreachable):  # noqa: PT012  # the loop ends by the error
            while True:
                await anyio.sleep(0.01)
                await writer.write(b"")
        await writer.aclose()
        assert 4 == (await store.status("ref")).offset


async def test_nothing_is_left_after_many_cancelled_calls(service: Server) -> None:
    async with RemoteStore(service.address) as store:
        digest = (await store.put(data_of(300_000))).digest
        for delay in range(40):
            with anyio.move_on_after(delay / 10_000):
                async with store.writer(f"{delay}") as writer:
                    await writer.write(bytes(100_000))
                await store.get(digest)

    assert not [name for name in await anyio.to_thread.run_sync(native_threads) if name.startswith("steelyard-rem")]


async def test_the_event_loop_goes_on_while_blobs_are_moved(service: Server) -> None:
    data = bytes(64 << 20)

    async with RemoteStore(service.address) as store:

        async def move() -> None:
            digest = (await store.put([data])).digest
            assert data == await store.get(digest)

        seen = await watched(move())

    print(f"late by {seen.late * 1e3:.1f} ms, {seen.longest / seen.process:.2%} in one go, {seen.beats} beats")
    assert seen.longest < seen.process / 5
    assert seen.beats >= 20


async def test_a_closed_store_refuses_calls_and_opens_again(service: Server) -> None:
    store = RemoteStore(service.address)
    await store.put(b"data")
    await store.aclose()
    await store.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await store.get(DIGEST)
    async with store:
        assert b"data" == await store.get(DIGEST)


async def test_a_store_that_was_made_before_a_fork_is_refused_in_the_child(service: Server) -> None:
    async with RemoteStore(service.address) as store:
        await store.put(b"data")

        assert refused_in_a_child(store._connection.channel.open)
        assert b"data" == await store.get(DIGEST)


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("", {}),
        ("unix://host/path", {}),
        ("tcp://127.0.0.1:1", {}),
        ("/" + "x" * 107, {}),
        ("/s", {"namespace": "no/slash"}),
        ("/s", {"namespace": "x" * 77}),
        ("/s", {"lease": "two words"}),
        ("/s", {"timeout": 0}),
        ("/s", {"message_bytes": 9 << 20}),
    ],
)
async def test_what_can_be_no_server_is_refused_at_once(address: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        RemoteStore(address, **options)
