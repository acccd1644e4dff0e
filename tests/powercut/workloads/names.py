"""Image names: created, moved and removed, by the library and by the command."""

from __future__ import annotations

import msgspec

from powercut.work import Work, blob, name
from steelyard import Descriptor, LocalStore


async def run(work: Work) -> None:
    async with work.store() as store:
        targets = [await target(work, store) for _ in range(3)]
        held: dict[str, Descriptor] = {}
        for _ in range(30):
            text = f"example.com/{work.chance.randrange(6)}:1"
            wanted = work.chance.choice(targets)
            begun = work.position()
            if text not in held:
                await store.images.create(text, wanted)
                held[text] = wanted
            elif work.chance.random() < 0.6:
                image = msgspec.structs.replace(await store.images.get(text), target=wanted)
                await store.images.update(image, "target")
                held[text] = wanted
            else:
                await store.images.delete(text)
                del held[text]
            work.acknowledged(begun, name(text, held[text].digest if text in held else None))
    for old, new in zip(list(held)[:1], ["example.com/copy:1"], strict=False):
        begun = work.position()
        await work.command("images", "tag", old, new)
        work.acknowledged(begun, name(new, held[old].digest))
        begun = work.position()
        await work.command("images", "rm", old)
        work.acknowledged(begun, name(old, None))


async def target(work: Work, store: LocalStore) -> Descriptor:
    data = work.data(200)
    begun = work.position()
    found = await store.put(data)
    work.acknowledged(begun, blob(data, {}))
    return Descriptor(media_type="application/octet-stream", digest=found.digest, size=len(data))
