"""A disk that becomes full during an upload."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.disks import mounted

from steelyard import LocalStore, StorageFull
from steelyard.web.uploads import Uploads

from .client import Client, checksum

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

MIB = 1 << 20


@pytest.mark.parametrize("with_checksum", [False, True])
async def test_no_acknowledged_byte_is_lost_on_a_full_disk(tmp_path: Path, *, with_checksum: bool) -> None:
    data = bytes(range(256)) * (16 * MIB // 256)
    raised: list[Exception] = []
    with mounted("ext4", tmp_path) as point:
        filler = point / "filler"
        filler.write_bytes(b"\0" * 8 * MIB)
        async with LocalStore(point / "store") as store:
            client = Client(Uploads(store), raised.append)
            path = await client.create(len(data))
            known = 0
            while True:
                part = data[known : known + MIB + MIB // 2]
                fields = {"upload_checksum": checksum(part)} if with_checksum else {}
                answer = await client.patch(path, known, part, **fields)
                if answer.status != 204:
                    break
                known = answer.offset
            assert (507, [StorageFull]) == (answer.status, [type(error) for error in raised])
            assert str(point) not in answer.text

            filler.unlink()
            offset = (await client("HEAD", path)).offset
            assert offset >= known > 0
            last = await client.patch(path, offset, data[offset:])
            assert data == await store.get(last.headers["steelyard-digest"])
