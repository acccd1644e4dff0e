"""Images into a containerd and out of it: what containerd's garbage collector leaves, and what its own client says of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from anyio import to_thread
from foreign.programs import run
from support.make_images import index_of, keep_two_platforms, manifest_of, target_of

from steelyard import LocalStore, MemoryStore, NotFound
from steelyard.containerd.remote import RemoteStore
from steelyard.containerd.service import Server
from steelyard.errors import LeaseEnded, Unsupported
from steelyard.images import ImagesOf, Naming, convert, export_images, import_images
from steelyard.testing._values import digest_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

NAME = "docker.io/demo/app:1"


@pytest.fixture
async def remote(isolated_containerd: str, namespace: str) -> AsyncIterator[RemoteStore]:
    async with RemoteStore(isolated_containerd, namespace=namespace) as store:
        yield store


async def ctr(store: RemoteStore, *words: str) -> str:
    """Run containerd's own client in the store's namespace."""
    address = ("--address", store.address.removeprefix("unix://"), "--namespace", str(store.namespace))
    return (await to_thread.run_sync(lambda: run("ctr", *address, *words))).decode()


async def collect(store: RemoteStore) -> None:
    """Have containerd collect its garbage, now."""
    async with store.lease(collect=True):
        pass


async def digests(store: RemoteStore) -> set[str]:
    return {str(info.digest) async for info in store.walk()}


async def source() -> tuple[MemoryStore, set[str]]:
    """Return a store with an image, and the digests of all that belongs to it."""
    store = MemoryStore()
    _, blobs = await keep_two_platforms(store, NAME)
    return store, {str(digest_of(blob)) for blob in blobs}


async def test_containerd_collects_what_nothing_refers_to_and_not_what_a_lease_protects(remote: RemoteStore) -> None:
    lost = (await remote.put(b"lost")).digest
    there = (await remote.put(b"there before")).digest
    async with remote.lease() as leased:
        kept = [(await leased.put(b"kept")).digest, (await leased.put(b"there before")).digest]
        async with leased.writer("begun") as writer:
            await writer.write(b"begun")
        await collect(remote)

        assert {str(digest) for digest in kept} == await digests(remote)
        assert 5 == (await remote.status("begun")).offset
    assert there in kept
    await collect(remote)

    assert set() == await digests(remote)
    with pytest.raises(NotFound):
        await remote.info(lost)
    with pytest.raises(LeaseEnded) as ended:
        await leased.put(b"after the end of the lease")
    assert leased.lease_id == ended.value.lease


async def test_a_lease_can_protect_stored_blobs(remote: RemoteStore) -> None:
    # Under a lease from the start: containerd collects garbage whenever it likes.
    async with AsyncExitStack() as first, remote.lease(expires=timedelta(minutes=5)) as leased:
        there = (await (await first.enter_async_context(remote.lease())).put(b"there")).digest
        await leased.leases.add(leased.lease_id or "", digests=[there, digest_of(b"absent")])
        await first.aclose()
        await collect(remote)

        assert {str(there)} == await digests(remote)


async def test_an_imported_image_stays_until_its_name_goes(remote: RemoteStore) -> None:
    store, wanted = await source()
    for digest in sorted(wanted)[:3]:  # what is there already is not written again, and must be kept all the same
        await remote.put(await store.get(digest))
    await import_images(remote, ImagesOf(store, (NAME,)))
    await collect(remote)

    assert wanted == await digests(remote)
    checked = await ctr(remote, "images", "check")
    assert " complete (" in checked, checked
    assert (await store.images.get(NAME)).target.digest == (await remote.images.get(NAME)).target.digest

    await ctr(remote, "images", "rm", "--sync", NAME)
    assert set() == await digests(remote)


async def test_an_exported_image_stays_and_comes_back(remote: RemoteStore, tmp_path: Path) -> None:
    store, wanted = await source()
    await export_images(store, remote, [NAME])
    await collect(remote)

    assert wanted == await digests(remote)
    async with LocalStore(tmp_path / "back", durability="process-crash") as back:
        await import_images(back, ImagesOf(remote, (NAME,)))
        assert wanted == {str(info.digest) async for info in back.walk()}
        assert {} == (await back.info((await back.images.get(NAME)).target.digest)).labels
    await remote.images.delete(NAME, collect=True)
    assert set() == await digests(remote)


async def test_a_converted_image_stays_when_the_old_name_goes(remote: RemoteStore) -> None:
    store = MemoryStore()
    manifest = manifest_of([b"layer"]).replace(b"oci.image.layer.v1.tar", b"docker.image.rootfs.diff.tar")
    index = index_of((manifest, "linux/amd64"))
    for blob in (b"layer", b'{"os":"linux","architecture":"amd64"}', manifest, index):
        await store.put(blob)
    await store.images.create(NAME, target_of(index))
    await import_images(remote, ImagesOf(store, (NAME,)))
    before = await digests(remote)
    await convert(remote, NAME, "docker.io/demo/app:2")
    await remote.images.delete(NAME, collect=True)

    after = await digests(remote)
    assert {str(digest_of(b"layer"))} < before & after
    assert str(digest_of(index)) not in after
    assert " complete (" in await ctr(remote, "images", "check")


async def test_an_index_with_a_name_keeps_what_it_names(remote: RemoteStore) -> None:
    store, wanted = await source()
    await import_images(remote, ImagesOf(store, (NAME,)), naming=Naming(index_name="docker.io/demo/index:1"))
    await remote.images.delete(NAME, collect=True)

    assert wanted < await digests(remote)


async def test_a_server_without_leases_gets_no_labels_for_a_collector(service: Server) -> None:
    store, wanted = await source()
    async with RemoteStore(service.address) as remote:
        await import_images(remote, ImagesOf(store, (NAME,)))

        assert wanted == await digests(remote)
        assert [{}] * len(wanted) == [info.labels async for info in remote.walk()]
        with pytest.raises(Unsupported):
            async with remote.lease():
                pass


async def test_the_labels_of_a_document_are_those_that_containerd_gives_it(remote: RemoteStore, tmp_path: Path) -> None:
    """The same image by its own import and by ours, in two namespaces."""
    store, wanted = await source()
    await export_images(store, tmp_path / "image.tar", [NAME])
    await import_images(remote, ImagesOf(store, (NAME,)))
    async with RemoteStore(remote.address, namespace=f"{remote.namespace}-theirs") as other:
        await ctr(other, "images", "import", "--no-unpack", "--all-platforms", str(tmp_path / "image.tar"))
        theirs = {str(info.digest): info.labels async for info in other.walk()}

    ours = {str(info.digest): info.labels async for info in remote.walk()}
    assert wanted == set(ours)
    assert {digest: theirs[digest] for digest in ours} == ours
    assert 3 == sum(bool(labels) for labels in ours.values())
