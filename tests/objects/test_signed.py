"""Signed removals on real servers: what the protocol of collections relies on."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from steelyard.errors import NotFound, ServerRefused
from steelyard.objects import ObjectStore
from steelyard.objects._layout import blob_key

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(params=["versitygw", "seaweedfs"])
def server(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


async def test_a_signed_removal_is_refused_after_its_time(address: str, tmp_path: Path) -> None:
    async with ObjectStore(address, spool=tmp_path) as store:
        digests = [(await store.put(b"%d" % number)).digest for number in range(2)]
        requests = store._require().requests
        (early,) = await requests.sign_removals([blob_key(digests[0])], seconds=3600)
        (late,) = await requests.sign_removals([blob_key(digests[1])], seconds=1)
        await requests.remove_signed(early)
        await requests.remove_signed(early)  # of an object that does not exist
        with pytest.raises(NotFound):
            await store.info(digests[0])

        await anyio.sleep(3)
        with pytest.raises(ServerRefused) as caught:
            await requests.remove_signed(late)
        assert "Signature" not in str(caught.value)
        assert await store.exists(digests[1])
