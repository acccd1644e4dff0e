"""Random requests to several uploads at once, also by applications that have just started: no order of them makes a wrong byte."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

import anyio
import pytest

from steelyard import Store
from steelyard.testing._values import digest_of
from steelyard.web.uploads import Upload, Uploads

from .client import Client, Sender, checksum

pytestmark = pytest.mark.anyio

_REQUESTS = 120
_LARGE = (1 << 20) + 70_000
"""More than a body with a checksum may have to be compared in memory."""


class Sending:
    """A client of one upload: it knows which bytes it has to send, and from where."""

    def __init__(self, choose: random.Random, path: str, data: bytes) -> None:
        self.choose = choose
        self.path = path
        self.data = data
        self.acknowledged = 0
        self.digest = ""

    async def request(self, client: Client) -> str:
        """Send one request, compare the answer, and return a word for it."""
        choose, known = self.choose, self.acknowledged
        match choose.randrange(8):
            case 0 | 1:
                return await self.ask(client)
            case 2:
                wrong = len(self.data) + choose.choice((1, 1000))
                assert (await client.patch(self.path, wrong, b"wrong")).status in {409, 423}
                return "wrong offset"
            case 3:
                part = self.part()
                answer = await client.patch(self.path, known, cut(choose, part), upload_checksum=checksum(part + b"x"))
                assert answer.status in {460, 409, 423} or (known == len(self.data) and answer.status == 204)
                return "wrong checksum"
            case 4:
                return await self.broken(client)
            case _:
                return await self.append(client)

    def part(self) -> bytes:
        size = self.choose.choice((0, 1, 5000, 200_000, _LARGE))
        return self.data[self.acknowledged : self.acknowledged + size]

    async def ask(self, client: Client) -> str:
        answer = await client("HEAD", self.path)
        if answer.status == 423:
            return "locked"
        assert 200 == answer.status
        self.take(answer.offset)
        self.digest = answer.headers.get("steelyard-digest", self.digest)
        return "asked"

    def take(self, offset: int) -> None:
        assert self.acknowledged <= offset <= len(self.data)
        self.acknowledged = offset

    async def append(self, client: Client) -> str:
        part = self.part()
        field = checksum(part, self.choose.choice(("sha1", "sha256"))) if self.choose.random() < 0.5 else None
        answer = await client.patch(self.path, self.acknowledged, cut(self.choose, part), upload_checksum=field)
        if answer.status != 204:
            assert answer.status in {409, 423}  # an unacknowledged request has moved the offset, or is still there
            return await self.ask(client)
        self.take(answer.offset)
        self.digest = answer.headers.get("steelyard-digest", self.digest)
        return "appended"

    async def broken(self, client: Client) -> str:
        """Send a part of a body, and then break the connection, cancel the request, or stall for a moment."""
        part = self.part()
        sender = Sender()
        for piece in cut(self.choose, part):
            sender.send(piece)
        field = checksum(part) if self.choose.random() < 0.5 else None
        if self.choose.random() < 0.5:
            sender.leave()
        with anyio.move_on_after(self.choose.random() * 0.05):
            await client.patch(self.path, self.acknowledged, sender, upload_checksum=field)
        return "broken"


def cut(choose: random.Random, data: bytes) -> list[bytes]:
    size = choose.choice((1000, 60_000, 500_000)) if len(data) < 300_000 else 60_000
    return [data[place : place + size] for place in range(0, len(data), size)] or [b""]


@pytest.mark.parametrize("seed", [1, pytest.param(None, marks=pytest.mark.slow)])
async def test_random_requests_store_the_right_bytes(store: Store, seed: int | None) -> None:
    seed = random.randrange(1 << 32) if seed is None else seed
    print("seed", seed)
    choose = random.Random(seed)
    told: Counter[str] = Counter()

    async def on_complete(upload: Upload) -> None:
        await anyio.lowlevel.checkpoint()
        told[upload.id] += 1

    def client() -> Client:
        return Client(Uploads(store, on_complete=on_complete, stalled_after=timedelta(seconds=0.02)))

    words: Counter[str] = Counter()
    clients = [client(), client()]
    uploads = []
    for _ in range(3):
        data = choose.randbytes(choose.choice((0, 7, 700_000, 3 << 20)))
        uploads.append(Sending(choose, await clients[0].create(len(data)), data))

    async def run(upload: Sending) -> None:
        for _ in range(_REQUESTS // 3):
            if choose.random() < 0.1:
                clients[choose.randrange(2)] = client()  # a process that has just started
            words[await upload.request(choose.choice(clients))] += 1
        while not upload.digest:
            words[await upload.append(clients[0])] += 1

    async with anyio.create_task_group() as tasks:
        for upload in uploads:
            tasks.start_soon(run, upload)
    print(dict(words))

    for upload in uploads:
        assert str(digest_of(upload.data)) == upload.digest
        assert upload.data == await store.get(upload.digest)
        assert told[upload.path[1:]] >= 1
    assert [] == await store.list_statuses()
