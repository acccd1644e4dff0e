"""The event loop runs while large uploads arrive: nothing of them is hashed or written on its thread, or with the GIL held.

As in `tests/local/test_loop_stall.py`, the assertion does not depend on the machine.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from support.stalls import watched

from steelyard import LocalStore
from steelyard.web.uploads import Uploads

from .client import Client, checksum

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SHARE = 0.04
"""Under 0.01 was seen on a busy machine, and over 0.1 where a body with a checksum is hashed on the loop's thread."""
ATTEMPTS = 10
SIZE = 24 << 20


async def test_the_event_loop_goes_on_while_uploads_arrive(tmp_path: Path) -> None:
    bodies = [
        (size, bytes([number]) * SIZE, checked)
        for number, (size, checked) in enumerate([(64 << 10, False), (64 << 10, True), (SIZE, False), (SIZE, True)])
    ]
    ready = [
        ([data[place : place + size] for place in range(0, SIZE, size)], checksum(data, "sha512") if checked else None)
        for size, data, checked in bodies
    ]
    shares = [1.0]
    while len(shares) <= ATTEMPTS and min(shares) > SHARE:
        async with LocalStore(tmp_path / f"store {len(shares)}") as store:
            client = Client(Uploads(store))

            async def send(client: Client, pieces: list[bytes], field: str | None) -> None:
                path = await client.create(SIZE)
                assert 204 == (await client.patch(path, 0, pieces, upload_checksum=field)).status

            async def work(client: Client = client) -> None:
                async with anyio.create_task_group() as tasks:
                    for pieces, field in ready:
                        tasks.start_soon(send, client, pieces, field)

            seen = await watched(work())
        shares.append(seen.longest / seen.process)
        print(f"late by {seen.late * 1e3:.1f} ms, {shares[-1]:.2%} in one go, {seen.beats} beats")

    assert min(shares) <= SHARE
