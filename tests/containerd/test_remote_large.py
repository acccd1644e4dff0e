"""Answers of one message that are larger than what native code receives ahead."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from steelyard import LocalStore
from steelyard.containerd import RemoteStore
from steelyard.containerd.service import Server
from steelyard.digest import Digest

pytestmark = pytest.mark.anyio


async def test_the_info_of_a_blob_with_very_many_labels_arrives(tmp_path: Path, short_path: Path) -> None:
    labels = {f"key-{number}": "x" * 4000 for number in range(1500)}
    async with (
        LocalStore(tmp_path) as local,
        Server(local, short_path / "s") as server,
        RemoteStore(server.address, timeout=30) as store,
    ):
        blob = await local.put(b"data", labels=labels)

        assert labels == (await store.info(blob.digest)).labels


async def test_the_resources_of_a_large_lease_arrive(tmp_path: Path, short_path: Path) -> None:
    digests = tuple(Digest.parse(f"sha256:{number:064x}") for number in range(50_000))
    async with (
        LocalStore(tmp_path) as local,
        Server(local, short_path / "s", own_collector=True) as server,
        RemoteStore(server.address, timeout=30) as store,
    ):
        await local.leases.create("l", expires=timedelta(hours=1))
        await local.leases.add("l", digests=digests)

        assert digests == (await store.leases.resources("l")).blobs
