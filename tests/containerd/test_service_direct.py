"""A `LocalStore` behind the service and in use by the same program: what one does, the other sees and hears of."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
import grpc
import msgspec
import pytest

from steelyard import LocalStore, Unavailable, open_writer
from steelyard.containerd.service import Server
from steelyard.errors import AlreadyExists, FailedPrecondition, UnexpectedSize
from steelyard.local.blocking import BlockingIngest, BlockingStore
from steelyard.options import IngestOptions
from steelyard_bench._proto import content_pb2 as pb

from .wire import Wire, off_loop, sha256, wire


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("how", ["end", "commit", "abort", "cancel"])
async def test_a_task_that_waits_for_a_ref_is_woken_when_a_client_frees_it(
    local_store: LocalStore, service: Server, how: str
) -> None:
    with wire(service.address) as connected:
        talk = connected.talk()
        await off_loop(lambda: talk.ask(pb.WRITE, ref="shared", data=b"data"))
        with pytest.raises(Unavailable):
            await local_store.writer("shared")

        ways: dict[str, Callable[[], object]] = {
            "end": talk.end,
            "commit": lambda: talk.ask(pb.COMMIT, offset=4),
            "abort": lambda: connected.content.Abort(pb.AbortRequest(ref="shared")),
            "cancel": talk.cancel,
        }

        async def free() -> None:
            await anyio.wait_all_tasks_blocked()
            await off_loop(ways[how])

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(free)
                async with open_writer(local_store, "shared") as writer:
                    assert {"end": 4, "cancel": 4}.get(how, 0) == writer.offset


async def test_each_ref_that_is_freed_is_notified_once(local_store: LocalStore) -> None:
    """A waiting task would notice by itself, but a second later."""
    freed: list[str] = []
    blocking = BlockingStore(local_store.direct().native, freed.append)

    def use(ref: str) -> BlockingIngest:
        ingest = blocking.ingest(IngestOptions.parse(ref))
        ingest.write(b"data")
        return ingest

    def free() -> None:
        for _ in range(2):
            (closed := use("closed")).close()
            closed.close()
        use("committed").commit(4, None, None)
        with pytest.raises(AlreadyExists):
            use("committed again").commit(None, None, None)
        with pytest.raises(UnexpectedSize):
            use("refused").commit(5, None, None)
        held = use("aborted")
        blocking.abort("aborted")
        assert "aborted" == freed.pop()
        held.close()

    await off_loop(free)
    assert ["closed", "closed", "committed", "committed again", "refused", "aborted"] == freed


async def test_a_client_finds_a_ref_held_by_the_program_and_what_it_stored(
    local_store: LocalStore, service: Server
) -> None:
    def client(held: bool) -> None:
        with wire(service.address) as connected:
            talk = connected.talk()
            if held:
                with pytest.raises(Exception, match="held by this process"):
                    talk.ask(ref="shared")
            else:
                assert 4 == talk.ask(ref="shared").offset
                assert b"stored" == connected.read(sha256(b"stored"))

    await local_store.put(b"stored")
    async with local_store.writer("shared") as writer:
        await writer.write(b"data")
        await off_loop(lambda: client(True))
    await off_loop(lambda: client(False))


async def test_a_stat_needs_nothing_of_the_disk(local_store: LocalStore, service: Server) -> None:
    def client() -> None:
        with wire(service.address) as connected:
            talk = connected.talk()
            # So little that it is written before the answer: a later write would find that its ingest is gone.
            before = talk.ask(pb.WRITE, ref="a", data=b"data" * 10_000)
            for path in sorted((local_store.path / "ingest").rglob("*"), reverse=True):
                if path.is_dir():
                    path.rmdir()
                else:
                    path.write_bytes(b"")
                    path.unlink()
            after = talk.ask(pb.STAT)
            assert (before.offset, before.digest, before.total) == (after.offset, after.digest, after.total)

    await off_loop(client)


async def test_a_server_is_entered_once(local_store: LocalStore, short_path: Path) -> None:
    server = Server(local_store, short_path / "s")
    async with server:
        pass
    with pytest.raises(FailedPrecondition):
        await server.__aenter__()


async def test_cancelling_the_program_ends_the_service_and_leaves_the_store_usable(
    local_store: LocalStore, short_path: Path
) -> None:
    def write(connected: Wire) -> None:
        connected.talk().ask(pb.WRITE, ref="a", data=b"kept")

    with anyio.CancelScope() as scope:
        async with Server(local_store, short_path / "s", grace_seconds=0.1) as server:
            with wire(server.address) as connected:
                await off_loop(lambda: write(connected))
                scope.cancel()
                await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert [] == names_in(short_path)
    assert 4 == (await local_store.status("a")).offset


def switches() -> Counter[str]:
    """Return how often each thread of the service has waited: one that reads and writes sockets, and those of the store."""
    found: Counter[str] = Counter()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended
            if (task / "comm").read_text().startswith("steelyard-serve"):
                status = (task / "status").read_text()
                found[task.name] = int(status.partition("voluntary_ctxt_switches:")[2].split()[0])
    return found


async def test_a_blob_that_was_asked_about_a_moment_before_is_known_without_a_thread(
    local_store: LocalStore, service: Server
) -> None:
    digest = str((await local_store.put(b"data")).digest)
    with wire(service.address) as connected:

        def ask() -> None:
            for _ in range(200):
                connected.content.Info(pb.InfoRequest(digest=digest))

        await off_loop(lambda: connected.content.Info(pb.InfoRequest(digest=digest)))
        before = switches()
        await off_loop(ask)

        sockets, *store = sorted((switches() - before).values(), reverse=True)
        assert sockets > 100
        assert sum(store) < 100  # a few each 0.2 seconds


async def test_what_was_asked_about_a_moment_before_is_looked_at_again(
    local_store: LocalStore, service: Server
) -> None:
    found = await local_store.put(b"data")
    with wire(service.address) as connected:

        def ask() -> pb.Info:
            info: pb.Info = connected.content.Info(pb.InfoRequest(digest=str(found.digest))).info
            return info

        def until_changed() -> None:
            end = time.monotonic() + 30
            while {"a": "c"} != dict(ask().labels):
                assert time.monotonic() < end
                time.sleep(0.02)

        assert {} == dict((await off_loop(ask)).labels)
        await local_store.update(msgspec.structs.replace(await local_store.info(found.digest), labels={"a": "b"}))
        assert {"a": "b"} == dict((await off_loop(ask)).labels)

        command = [
            sys.executable,
            "-m",
            "steelyard",
            "--store",
            str(local_store.path),
            "label",
            str(found.digest),
            "a=c",
        ]
        await anyio.run_process(command, env=os.environ | {"STEELYARD_ALLOW_DEBUG": "1"})
        await off_loop(until_changed)

        await local_store.delete(found.digest)
        with pytest.raises(grpc.RpcError) as caught:
            await off_loop(ask)
        assert grpc.StatusCode.NOT_FOUND == caught.value.code()
