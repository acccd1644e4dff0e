"""RemoteStore keeps the contract of leases on a real containerd and on our own service; where it does not, the tests here say what holds in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from steelyard import LocalStore, MemoryStore
from steelyard.containerd.remote import RemoteStore
from steelyard.containerd.service import Server
from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.errors import InvalidArgument, LeaseEnded, Unsupported
from steelyard.testing import LeaseContract
from steelyard.testing._leasing import HOUR
from steelyard.testing._values import digest_of

pytestmark = pytest.mark.slow


class OverTheWire(LeaseContract):
    """The limits of the protocol: values that it cannot carry, and changes of one resource at a time."""

    changes_are_whole = False

    # An ID is a header of each call.

    @pytest.mark.parametrize("lease", ["a", "A-b/../%_*'\"", "x" * 1024, "sha256:00"])
    async def test_any_other_text_is_an_id(self, store: Store, lease: str) -> None:
        await super().test_any_other_text_is_an_id(store, lease)
        for other in ("ü", "a b"):
            with pytest.raises(InvalidArgument):
                await store.leases.create(other, expires=HOUR)


class TestOurService(OverTheWire):
    """A store behind our own service: one that is called directly, and one through the event loop."""

    @pytest.fixture(params=[LocalStore, MemoryStore])
    async def store(
        self, request: pytest.FixtureRequest, tmp_path: Path, short_path: Path
    ) -> AsyncIterator[RemoteStore]:
        local = request.param is LocalStore
        async with (
            LocalStore(tmp_path / "store", durability="process-crash") if local else MemoryStore() as own,
            Server(own, short_path / "content.sock", own_collector=True, grace_seconds=5) as server,
            RemoteStore(server.address, namespace=None) as store,
        ):
            yield store


class TestRealContainerd(OverTheWire):
    """A containerd 1.6."""

    @pytest.fixture
    async def store(self, isolated_containerd: str, namespace: str) -> AsyncIterator[RemoteStore]:
        async with RemoteStore(isolated_containerd, namespace=namespace) as store:
            yield store

    # It knows SHA-256 only.

    @pytest.mark.parametrize("algorithm", [Algorithm.SHA256])
    async def test_a_digest_of_another_algorithm_is_entered(self, store: Store, algorithm: Algorithm) -> None:
        await super().test_a_digest_of_another_algorithm_is_entered(store, algorithm)

    # It compares no times: an expired lease ends at the next collection.

    @pytest.mark.parametrize("reason", ["deleted"])
    async def test_a_call_under_an_ended_lease_raises(self, store: Store, tmp_path: Path, *, reason: str) -> None:
        await super().test_a_call_under_an_ended_lease_raises(store, tmp_path, reason=reason)

    # An ingest ends with its lease, at the next collection.

    async def test_a_writer_whose_lease_ends_keeps_its_bytes(self, store: Store) -> None:
        async with store.lease() as leased, leased.writer("ref") as writer:
            await writer.write(b"data")
            await store.leases.delete(leased.lease_id or "")
            with pytest.raises(LeaseEnded):
                await writer.commit()

        assert not await store.exists(digest_of(b"data"))


@pytest.mark.anyio
async def test_a_server_without_leases_says_so(service: Server) -> None:
    async with RemoteStore(service.address, namespace=None) as store:
        for call in (store.leases.list(), store.leases.create(expires=HOUR), store.leases.get("a")):
            with pytest.raises(Unsupported):
                await call
        with pytest.raises(Unsupported):
            async with store.lease():
                pass
