"""Clients that stall, go away or come twice, and requests that are cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from steelyard import Store
from steelyard.errors import Unavailable
from steelyard.web.uploads import Uploads

from .client import PATCH_TYPE, Answer, Client, Sender, checksum

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 8
LARGE = bytes(range(256)) * 8192


def quick(store: Store, *, stalled: float = 0.05, idle: float = 30) -> Client:
    return Client(
        Uploads(store, stalled_after=timedelta(seconds=stalled), abandoned_after=timedelta(seconds=idle)),
    )


@asynccontextmanager
async def answering(call: Callable[[], Awaitable[Answer]]) -> AsyncIterator[list[Answer]]:
    """Send a request beside the body of the block. At its end the list has the answer."""
    answers: list[Answer] = []

    async def send() -> None:
        answers.append(await call())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        yield answers


async def received(store: Store, path: str, offset: int) -> None:
    """Wait until the request has received so many bytes."""
    with anyio.fail_after(60):
        while (await store.status("uploads" + path)).offset < offset:  # noqa: ASYNC110  # no event tells it
            await anyio.sleep(0.01)


async def free(store: Store, path: str, offset: int) -> None:
    """Wait until the request has received so many bytes and has given its writer back."""
    await received(store, path, offset)
    with anyio.fail_after(60):
        while True:
            try:
                await (await store.writer("uploads" + path)).aclose()
            except Unavailable:
                await anyio.sleep(0.01)
            else:
                return


async def test_two_at_once_are_423(store: Store) -> None:
    client = quick(store, stalled=30)
    path = await client.create(len(DATA))
    sender = Sender()
    sender.send(DATA[:10])
    async with answering(lambda: client.patch(path, 0, sender)) as answers:
        await received(store, path, 10)
        for answer in (await client.patch(path, 0, DATA), await client("HEAD", path)):
            assert (423, "1") == (answer.status, answer.headers["retry-after"])
            assert "upload-offset" not in answer.headers
        sender.send(DATA[10:], more=False)

    assert [(204, len(DATA))] == [(answer.status, answer.offset) for answer in answers]


async def test_a_request_takes_over_from_a_stalled_one(store: Store) -> None:
    client = quick(store)
    path = await client.create(len(DATA))
    sender = Sender()
    sender.send(DATA[:10])
    async with answering(lambda: client.patch(path, 0, sender)) as answers:
        await free(store, path, 10)
        assert 10 == (await client("HEAD", path)).offset
        assert 20 == (await client.patch(path, 10, DATA[10:20])).offset
        sender.send(DATA[10:30])  # it comes too late
        sender.finish()

    assert [409] == [answer.status for answer in answers]
    assert 20 == (await client("HEAD", path)).offset


async def test_a_stalled_request_goes_on_if_none_took_over(store: Store) -> None:
    client = quick(store)
    path = await client.create(len(DATA))
    sender = Sender()
    async with answering(lambda: client.patch(path, 0, sender)) as answers:
        for place in range(0, len(DATA), 512):
            sender.send(DATA[place : place + 512])
            await free(store, path, place + 512)
        sender.finish()

    assert DATA == await store.get(answers[0].headers["steelyard-digest"])


async def test_a_stalled_request_with_a_checksum_ends(store: Store) -> None:
    client = quick(store)
    path = await client.create(len(LARGE) + 1)
    await client.patch(path, 0, b"a")
    sender = Sender()
    sender.send(LARGE[:-5])
    async with answering(lambda: client.patch(path, 1, sender, upload_checksum=checksum(LARGE))) as answers:
        await free(store, path, len(LARGE) - 4)
        sender.send(LARGE[-5:], more=False)

    assert [408] == [answer.status for answer in answers]
    assert 1 == (await client("HEAD", path)).offset


async def test_a_stalled_request_does_not_begin_an_upload_again_that_is_complete(store: Store) -> None:
    client = quick(store)
    path = await client.create(len(DATA))
    sender = Sender()
    async with answering(lambda: client.patch(path, 0, sender)) as answers:
        await anyio.sleep(0.2)
        await free(store, path, 0)
        assert 204 == (await client.patch(path, 0, DATA)).status
        sender.send(DATA, more=False)

    assert [409] == [answer.status for answer in answers]
    assert [] == await store.list_statuses()
    assert len(DATA) == (await client("HEAD", path)).offset


async def test_a_stalled_request_that_goes_on_removes_the_mark_of_another(store: Store) -> None:
    """A request with a checksum, cancelled after it has left its mark and before it has written a byte."""
    client = quick(store)
    path = await client.create(len(DATA) + 5)
    sender = Sender()
    sender.send(DATA[:10])
    async with answering(lambda: client.patch(path, 0, sender)) as answers:
        await free(store, path, 10)
        ref = "uploads" + path
        await store.leases.add(ref, refs=[f"{ref}!checked=10"])
        sender.send(DATA[10:], more=False)

    assert [(204, len(DATA))] == [(answer.status, answer.offset) for answer in answers]
    assert len(DATA) == (await client("HEAD", path)).offset


async def test_a_request_that_stalls_for_long_ends(store: Store) -> None:
    client = quick(store, idle=0.2)
    path = await client.create(len(DATA))
    sender = Sender()
    sender.send(DATA[:10])
    with anyio.fail_after(60):
        answer = await client.patch(path, 0, sender)

    assert 408 == answer.status
    assert 10 == (await client("HEAD", path)).offset


async def test_what_arrived_counts_when_the_client_goes_away(store: Store) -> None:
    client = Client(Uploads(store))
    path = await client.create(len(DATA))
    sender = Sender()
    sender.send(DATA[:100])
    sender.leave()
    answer = await client.patch(path, 0, sender)

    assert 0 == answer.status
    assert 100 == (await client("HEAD", path)).offset


async def test_a_body_that_ends_before_its_length_counts_as_broken(store: Store) -> None:
    client = Client(Uploads(store))
    path = await client.create(len(DATA))
    answer = await client.patch(path, 0, [DATA[:100]], content_length=len(DATA))

    assert 0 == answer.status
    assert 100 == (await client("HEAD", path)).offset


async def test_a_creation_whose_client_goes_away_leaves_nothing(store: Store) -> None:
    client = Client(Uploads(store, max_uploads=1))
    for _ in range(2):
        sender = Sender()
        sender.send(DATA[:100])
        sender.leave()
        answer = await client("POST", "/", sender, upload_length=len(DATA), content_type=PATCH_TYPE)
        assert 0 == answer.status

    assert ([], []) == (await store.list_statuses(), await store.leases.list())
    await client.create(3)


async def test_what_arrived_counts_when_the_request_is_cancelled(store: Store) -> None:
    client = Client(Uploads(store))
    path = await client.create(len(DATA))
    sender = Sender()
    sender.send(DATA[:100])
    with anyio.move_on_after(0.2):
        await client.patch(path, 0, sender)
        pytest.fail("it waits for the rest")

    assert 100 == (await client("HEAD", path)).offset
    assert DATA == await store.get((await client.patch(path, 100, DATA[100:])).headers["steelyard-digest"])


async def test_termination_ends_the_request_under_way(store: Store) -> None:
    client = quick(store, stalled=30)
    path = await client.create(len(DATA))
    sender = Sender()
    sender.send(DATA[:10])
    async with answering(lambda: client.patch(path, 0, sender)) as answers:
        await received(store, path, 10)
        assert 204 == (await client("DELETE", path)).status
        sender.send(DATA[10:], more=False)

    assert [410] == [answer.status for answer in answers]
    assert ([], []) == (await store.list_statuses(), await store.leases.list())


async def test_an_upload_that_expires_while_it_is_received_is_not_swept(store: Store) -> None:
    expires = timedelta(seconds=1)
    app = Uploads(store, expires=expires, stalled_after=timedelta(seconds=30))
    client = Client(app)
    answers: list[Answer] = []

    async def send(path: str, sender: Sender) -> None:
        answers.append(await client.patch(path, 0, sender))

    async with anyio.create_task_group() as tasks:
        while True:
            created = datetime.now(UTC)
            path, sender = await client.create(len(DATA)), Sender()
            sender.send(DATA[:10])
            tasks.start_soon(send, path, sender)
            with anyio.move_on_after(30):
                while not answers and (await store.status("uploads" + path)).offset < 10:  # noqa: ASYNC110  # no event tells it
                    await anyio.sleep(0.01)
            if not answers:
                break
            assert 410 == answers.pop().status  # the machine is too slow: once more
        await anyio.sleep(max(0.0, (created + expires - datetime.now(UTC)).total_seconds() + 1))
        assert path[1:] in {status.ref.rpartition("/")[2] for status in await store.list_statuses()}
        await app.sweep()
        sender.send(DATA[10:], more=False)

    assert [204] == [answer.status for answer in answers]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_a_creation_that_is_cancelled_leaves_no_writer(store: Store, steps: int) -> None:
    client = Client(Uploads(store))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            tasks.start_soon(cancel)
            await client.create(3)

    for status in await store.list_statuses():
        await (await store.writer(status.ref)).aclose()


@pytest.mark.parametrize("step", range(0, 60, 3))
async def test_a_last_request_that_is_cancelled_is_completed_by_the_next(store: Store, step: int) -> None:
    told = []

    async def on_complete(upload: object) -> None:
        told.append(upload)
        await anyio.lowlevel.checkpoint()

    client = Client(Uploads(store, on_complete=on_complete))
    path = await client.create(len(DATA))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                for _ in range(step):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()

            tasks.start_soon(cancel)
            await client.patch(path, 0, DATA)
    answer = await client("HEAD", path)
    if answer.offset < len(DATA):
        answer = await client.patch(path, answer.offset, DATA[answer.offset :])

    assert DATA == await store.get(answer.headers["steelyard-digest"])
    assert 1 <= len(told) <= 2
