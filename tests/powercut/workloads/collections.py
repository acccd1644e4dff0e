"""Collections without a grace time, beside puts of what they remove, and beside image names that come and go.

Another workload stores batches in the same store. A batch has all digests for a moment, and a collection leaves the garbage whose
digests are taken to the next one, so what it removed is read from its answer.
"""

from __future__ import annotations

import json
from datetime import timedelta

import anyio
from support.make_images import MANIFEST, manifest_of

from powercut.history import Change
from powercut.work import Work, blob, digest_of, entry, lease, loose, name, parts
from steelyard import Descriptor, LocalStore

AT_ONCE = timedelta(0)
LEASE = "of collections"

Blobs = dict[bytes, dict[str, str]]
"""Bytes and labels."""


async def run(work: Work) -> None:
    work.use("collected")
    async with work.store() as store:
        begun = work.position()
        await store.leases.create(LEASE, expires=timedelta(days=1))
        work.acknowledged(begun, lease(LEASE, {}))
        left: Blobs = {}
        for number in range(4):
            garbage = await unneeded(work, store)
            image = await Image.named(work, store, f"example.com/kept/{number}:1")
            left = await collect(work, store, garbage, left)
            left |= await image.removed(work, store) if work.chance.random() < 0.7 else {}
    begun = work.position()
    records = map(json.loads, (await work.command("gc", "--grace", "0s", "--format", "jsonl")).splitlines())
    gone = {record["digest"] for record in records if record["type"] == "garbage"}
    work.acknowledged(begun, *(collected(data, labels, gone) for data, labels in left.items()))


async def unneeded(work: Work, store: LocalStore) -> Blobs:
    """Store blobs that nothing keeps."""
    stored: Blobs = {}
    for _ in range(work.chance.randint(3, 12)):
        data, labels = work.data(300, 100_000), work.chance.choice([{}, work.labels()])
        begun = work.position()
        await store.put(data, labels=labels)
        work.acknowledged(begun, blob(data, labels))
        stored[data] = labels
    return stored


def collected(data: bytes, labels: dict[str, str], gone: set[str]) -> Change:
    """Return the change of garbage by a collection that removed those digests: during it, the labels may be gone before the blob."""
    return blob(data, None, {}) if digest_of(data) in gone else loose(data, labels)


async def collect(work: Work, store: LocalStore, garbage: Blobs, earlier: Blobs) -> Blobs:
    """Collect garbage, store a part of it again meanwhile and afterwards, and return what is left of it.

    Nothing of `earlier`, which other collections left, is stored again.
    """
    wanted = work.chance.sample(sorted(garbage), k=work.chance.randint(1, 3))
    begun = work.position()
    gone: set[str] = set()

    async def put_again(data: bytes) -> None:
        labels = work.labels()
        await anyio.sleep(work.chance.random() / 50)
        is_new = (await store.with_lease(LEASE).put(data, labels=labels)).new
        during = [garbage[data], {}, None]
        work.acknowledged(begun, blob(data, labels if is_new else garbage[data], *during, labels), entry(LEASE, data))

    unwanted = {data: labels for data, labels in (garbage | earlier).items() if data not in wanted}
    async with anyio.create_task_group() as tasks:
        for data in wanted:
            tasks.start_soon(put_again, data)
        result = await store.collect(grace=AT_ONCE, on_garbage=lambda found: gone.add(str(found.digest)))
        work.acknowledged(begun, *(collected(data, labels, gone) for data, labels in unwanted.items()))
    left = {data: labels for data, labels in unwanted.items() if digest_of(data) not in gone}
    assert len(left) <= result.spared
    for data in sorted(garbage.keys() - set(wanted))[:2]:
        labels = work.labels()
        begun = work.position()
        is_new = (await store.with_lease(LEASE).put(data, labels=labels)).new
        work.acknowledged(begun, blob(data, labels if is_new else garbage[data]), entry(LEASE, data))
        left.pop(data, None)
    return left


class Image:
    """An image whose blobs only its name keeps."""

    def __init__(self, text: str, layers: list[bytes], config: bytes, manifest: bytes) -> None:
        self._text = text
        self._blobs = [*layers, config, manifest]

    @classmethod
    async def named(cls, work: Work, store: LocalStore, text: str) -> Image:
        """Store an image under a lease of this process, and name it; the name keeps it when the lease ends."""
        layers = [work.data(300, 100_000) for _ in range(3)]
        config = b'{"os":"linux","architecture":"amd64","made":"%d"}' % work.chance.getrandbits(40)
        manifest = manifest_of(layers, config=config)
        image = cls(text, layers, config, manifest)
        async with store.lease() as leased:
            for data in image._blobs:
                begun = work.position()
                found = await leased.put(data)
                work.acknowledged(begun, blob(data, {}), *([parts(data, *layers, config)] if data == manifest else []))
            begun = work.position()
            target = Descriptor(media_type=MANIFEST, digest=found.digest, size=len(manifest))
            await leased.images.create(text, target)
            work.acknowledged(begun, name(text, target.digest))
        return image

    async def removed(self, work: Work, store: LocalStore) -> Blobs:
        """Remove the name; nothing keeps the blobs any more."""
        begun = work.position()
        await store.images.delete(self._text)
        work.acknowledged(begun, name(self._text, None))
        return {data: {} for data in self._blobs}
