"""Collections while references move: a blob that roots keep before and after a change stays, at whichever wait the change happens."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import ClassVar

import msgspec
import pytest

from steelyard.collection import Garbage
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.model import Descriptor, Labels
from steelyard.testing._collecting import AT_ONCE, FLAT, MANIFEST, REFERENCE, ROOT, document, name, stored
from steelyard.testing._leasing import HOUR
from steelyard.testing._steps import act_at
from steelyard.testing._values import digest_of, keep

__all__ = ("MovingContract",)

_REFS = ("to another", "to a lease", "to a name")

Act = Callable[[], Awaitable[None]]


class _Scene:
    """Blobs that a root or reference keeps, and changes after which another root or reference keeps them.

    Args:
        store: the store.
        number: a number in the bytes of the blobs, so that two scenes have no blob in common.
    """

    def __init__(self, store: Store, number: int) -> None:
        self.store = store
        self._number = number
        self.kept: set[Digest] = set()
        self.changes: list[Act] = []

    def data(self, text: str) -> bytes:
        """Return the bytes of a blob."""
        return f"{text} {self._number}".encode()

    async def blob(self, text: str, **labels: str) -> Digest:
        """Store a blob that must stay."""
        digest = await keep(self.store, self.data(text), **labels)
        self.kept.add(digest)
        return digest

    async def label(self, digest: Digest, **labels: str) -> None:
        """Set all labels of a blob."""
        info = await self.store.info(digest)
        await self.store.update(msgspec.structs.replace(info, labels=Labels(labels)))

    async def make(self) -> None:
        """Store the blobs."""
        for part in (self._names, self._labels, self._leases, self._ingests, self._documents, self._subjects):
            await part()
        await self._found_again()
        for number in range(5):
            await keep(self.store, self.data(f"garbage {number}"))

    async def change(self) -> None:
        """Make the changes."""
        for each in self.changes:
            await each()

    async def _names(self) -> None:
        """One blob moves from the last name to the first. Another moves to a new name, when its old name gets another target."""
        store, blob, target = self.store, await self.blob("named"), await self.blob("target")
        below = await self.blob("below")
        above = await self.blob("above", **{REFERENCE: str(below)})
        await name(store, "z", blob)
        await name(store, "m", target)
        await name(store, "y", above)

        async def change() -> None:
            await name(store, "a", blob)
            await store.images.delete("z")
            await name(store, "b", target)
            await store.images.assign({"m": Descriptor(digest=above)}, overwrite=True)
            await store.images.delete("y")

        self.changes.append(change)

    async def _labels(self) -> None:
        """A reference and a root move from the labels of one blob to the labels of another, in both directions."""
        for first, second in ("ab", "ba"):
            moved, root = await self.blob(f"moved {first}"), await self.blob(f"root {first}")
            old = await self.blob(f"old {first}", **{REFERENCE: str(moved)})
            new = await self.blob(f"new {second}")
            holder = await self.blob(f"holder {first}", **{ROOT: "1", f"{REFERENCE}.a": str(root)})
            await name(self.store, f"{first}-old", old)
            await name(self.store, f"{second}-new", new)

            async def change(
                old: Digest = old,
                new: Digest = new,
                moved: Digest = moved,
                root: Digest = root,
                holder: Digest = holder,
            ) -> None:
                await self.label(new, **{REFERENCE: str(moved)})
                await self.label(old)
                await self.label(root, **{ROOT: "1", REFERENCE: str(holder)})
                await self.label(holder)

            self.changes.append(change)

    async def _leases(self) -> None:
        """Blobs move from a name to a lease, from one lease to another, and from a flat lease to a name.

        More leases sort between the old one and the new one, so that some steps of a collection end between the two.
        """
        store, flat = self.store, {FLAT: "true"}
        named, leased, below = [await self.blob(text) for text in ("to lease", "leased", "under flat")]
        above = await self.blob("flat", **{REFERENCE: str(below)})
        await name(store, "lease", named)
        held: dict[str, list[Digest]] = {"a": [], "z": [leased], "flat-a": [above], "flat-z": [below]}
        for lease in (*held, *(f"{kind}m{number}" for kind in ("", "flat-") for number in range(6))):
            await store.leases.create(lease, expires=HOUR, labels=flat if "flat" in lease else {})
            await store.leases.add(lease, digests=held.get(lease, [named]))

        async def change() -> None:
            await store.leases.add("a", digests=[named, leased])
            await store.images.delete("lease")
            await store.leases.delete("z")
            await name(store, "from-flat", above)
            await store.leases.delete("flat-a")
            await store.leases.delete("flat-z")

        self.changes.append(change)

    async def _ingests(self) -> None:
        """Blobs move from an ingest that expects them to another ingest, to a lease, and to a name."""
        store, digests = self.store, []

        async def begin(ref: str, expected: Digest) -> None:
            async with store.writer(ref, expected=expected):
                pass

        for ref in _REFS:
            digests.append(digest_of(self.data(ref)))
            await begin(ref, digests[-1])
            await self.blob(ref)

        async def change() -> None:
            await store.delete(digests[0])  # otherwise `writer` raises AlreadyExists
            await begin("new", digests[0])
            await self.blob(_REFS[0])
            await store.leases.add("a", digests=[digests[1]])
            await name(store, "expected", digests[2])
            for ref in _REFS:
                await store.abort(ref)

        self.changes.append(change)

    async def _documents(self) -> None:
        """A document is stored for a name that already holds its digest, or under a lease; until then, another name kept its layer."""
        store = self.store
        for text in ("by name", "by lease"):
            layer = await self.blob(f"layer {text}")
            data = document(layers=[layer], text=text)
            await name(store, f"layer {text}", layer)
            if text == "by name":
                await name(store, text, digest_of(data), MANIFEST)

            async def change(text: str = text, data: bytes = data) -> None:
                stored = await (store if text == "by name" else store.with_lease("a")).put(data)
                self.kept.add(stored.digest)
                await store.images.delete(f"layer {text}")

            self.changes.append(change)

    async def _subjects(self) -> None:
        """A signature of an image is stored; until then, a name kept its layer."""
        image, layer = await self.blob("image"), await self.blob("of signature")
        await name(self.store, "image", image)
        await name(self.store, "of signature", layer)

        async def change() -> None:
            self.kept.add((await self.store.put(document(subject=image, layers=[layer]))).digest)
            await self.store.images.delete("of signature")

        self.changes.append(change)

    async def _found_again(self) -> None:
        """Garbage is found again under a lease: the blobs that are still stored then stay."""
        below = await keep(self.store, self.data("found below"))
        above = await keep(self.store, self.data("found"), **{REFERENCE: str(below)})

        async def change() -> None:
            leased = self.store.with_lease("a")
            await leased.put(self.data("found"))
            await leased.leases.add("a", digests=[below])
            there = (await leased.infos([above, below])).keys()
            self.kept |= there

        self.changes.append(change)

    async def clear(self) -> None:
        """Remove all names, leases, ingests and blobs."""
        for image in await self.store.images.list():
            await self.store.images.delete(image.name)
        for lease in await self.store.leases.list():
            await self.store.leases.delete(lease.id)
        for status in await self.store.list_statuses():
            await self.store.abort(status.ref)
        async for info in self.store.walk():
            await self.store.delete(info.digest)


@pytest.mark.anyio
class MovingContract:
    """The rules of `Store.collect` for references that move while it runs.

    Attributes:
        stride: the references move at each `stride`-th wait of a collection, in a run of its own; 1 tries every wait.
    """

    stride: ClassVar[int] = 1

    async def test_a_blob_whose_root_moves_during_a_collection_stays(self, store: Store) -> None:
        for step in itertools.count(1, self.stride):
            scene = _Scene(store, step)
            await scene.make()
            untouched = await act_at(step, store.collect(grace=AT_ONCE), scene.change)
            if untouched:
                await scene.change()
            left = await stored(store)
            assert set() == scene.kept - left, step
            await store.collect(grace=AT_ONCE)
            left = await stored(store)
            assert set() == scene.kept - left, step
            await scene.clear()
            if untouched:
                break

    async def test_a_blob_whose_root_moves_during_a_dry_run_is_not_listed_as_removed(self, store: Store) -> None:
        for step in itertools.count(1, self.stride):
            scene = _Scene(store, step)
            await scene.make()
            kept = set(scene.kept)
            listed: list[Garbage] = []

            async def ask(listed: list[Garbage] = listed) -> None:
                await store.collect(grace=AT_ONCE, dry_run=True, on_garbage=listed.append)

            untouched = await act_at(step, ask(), scene.change)
            assert set() == kept & {each.digest for each in listed if each.goes}, step
            await scene.clear()
            if untouched:
                break

    async def test_a_blob_whose_root_moves_during_why_has_a_root(self, store: Store) -> None:
        for step in itertools.count(1, self.stride):
            scene = _Scene(store, step)
            await scene.make()
            digests = list(scene.kept)
            reasons: dict[Digest, object] = {}

            async def ask(digests: list[Digest] = digests, reasons: dict[Digest, object] = reasons) -> None:
                reasons.update({digest: each.root for digest, each in (await store.reasons(digests)).items()})

            untouched = await act_at(step, ask(), scene.change)
            assert set(digests) == reasons.keys()
            assert None not in reasons.values(), step
            await scene.clear()
            if untouched:
                break
