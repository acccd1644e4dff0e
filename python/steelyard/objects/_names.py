"""Image names in a bucket. Each is a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

import msgspec

from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists
from steelyard.events import EventSource, EventType
from steelyard.filters import image_fields
from steelyard.filters._async import choose, compiled
from steelyard.model import Descriptor, Image, Labels
from steelyard.names import ImageNames, check_held, check_name, split_fieldpaths
from steelyard.objects._layout import hashed
from steelyard.objects._records import KEEP, Keep, Record, Records
from steelyard.objects._values import NameValue, after
from steelyard.objects._watch import Note, Watch
from steelyard.options import check_size

__all__ = ("ObjectImageNames",)

Edit = Callable[[Image | None], Image | None]


class ObjectImageNames(ProcessBound, ImageNames):
    """The image names of a store in a bucket.

    A change of one name is atomic. `assign` checks all names before it changes the first one; if another client changes one of them
    meanwhile, or the process ends, some names may have been set.

    Args:
        records: the records of the names.
        watch: looks at collections.
        events: publishes the events of the names.
    """

    def __init__(self, records: Records[NameValue], watch: Watch, events: EventSource) -> None:
        self._records = records
        self._watch = watch
        self._events = events

    async def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        """Create a name; see `ImageNames.create`."""
        kept = Labels(labels)
        check_size(target.size)

        def edit(old: Image | None) -> Image:
            if old is not None:
                raise AlreadyExists(old.target.digest, name=name)
            return _assigned(None, name, target, kept)

        return await self._change(name, edit)

    async def assign(
        self, targets: Mapping[str, Descriptor], *, labels: Mapping[str, str] | None = None, overwrite: bool = False
    ) -> list[Image]:
        """Set the targets of names; see `ImageNames.assign`."""
        kept = None if labels is None else Labels(labels)
        for target in targets.values():
            check_size(target.size)

        def judged(name: str, old: Image | None) -> Image:
            if old is None or overwrite:
                return _assigned(old, name, targets[name], kept)
            if old.target.digest != targets[name].digest:
                raise AlreadyExists(old.target.digest, name=name)
            return old

        for name in [check_name(name) for name in targets]:
            judged(name, await self._look(name))
        return [await self._change(name, partial(judged, name)) for name in targets]

    async def update(self, image: Image, *fieldpaths: str, expected: Digest | str | None = None) -> Image:
        """Change the target or the labels of a name; see `ImageNames.update`."""
        moved, everything, keys = split_fieldpaths(fieldpaths)
        check_size(image.target.size)
        given = Labels(image.labels)

        def edit(old: Image | None) -> Image:
            held = check_held(image.name, old, expected)
            labels = dict(given) if everything else {key: held.labels[key] for key in held.labels if key not in keys}
            if not everything:
                labels |= {key: given[key] for key in keys if key in given}
            target = image.target if moved else held.target
            return msgspec.structs.replace(
                held, target=target, labels=Labels(labels), updated_at=after(held.updated_at)
            )

        return await self._change(image.name, edit)

    async def get(self, name: str) -> Image:
        """Return the target, labels and times of a name; see `ImageNames.get`."""
        return check_held(name, await self._look(name), None)

    async def list(self, *filters: str) -> list[Image]:
        """Return the matching names; see `ImageNames.list`. Each name takes a request."""
        chosen = await compiled(filters)
        images = [record.value.image() for record in (await self._records.all()).values() if record.value is not None]
        return await choose(chosen, sorted(images, key=lambda image: image.name), image_fields)

    async def delete(self, name: str, *, expected: Digest | str | None = None) -> None:
        """Remove a name; see `ImageNames.delete`."""

        def edit(old: Image | None) -> None:
            check_held(name, old, expected)

        await self._edit(name, edit)

    async def _look(self, name: str) -> Image | None:
        return _image(await self._records.read(hashed(check_name(name))))

    async def _change(self, name: str, edit: Callable[[Image | None], Image]) -> Image:
        changed = await self._edit(name, edit)
        assert changed is not None  # noqa: S101  # the edit returned it
        return changed

    async def _edit(self, name: str, edit: Edit) -> Image | None:
        seen: list[Image | None] = []

        def changed(record: Record[NameValue] | None) -> NameValue | Keep | None:
            old = _image(record)
            new = edit(old)
            seen[:] = [old, new]
            if new is None:
                return None
            return KEEP if new == old else NameValue.of(new)

        key = hashed(check_name(name))
        since = await self._watch.begin()
        await self._records.change(key, changed)
        old, new = seen
        if new is not None and new != old:
            await self._watch.settle(since, [Note(kind="root", digest=str(new.target.digest))], is_wide=True)
        if new != old:
            self._publish(old, new)
        return new

    def _publish(self, old: Image | None, new: Image | None) -> None:
        image = old if new is None else new
        assert image is not None  # noqa: S101  # one of them is there
        previous = None if old is None or new is None else old.target.digest
        kind: EventType = "name_set" if previous in {None, image.target.digest} else "name_moved"
        self._events.publish(
            "name_removed" if new is None else kind,
            digest=image.target.digest,
            size=image.target.size,
            name=image.name,
            previous=previous,
            labels=image.labels,
        )


def _image(record: Record[NameValue] | None) -> Image | None:
    return None if record is None or record.value is None else record.value.image()


def _assigned(old: Image | None, name: str, target: Descriptor, labels: Labels | None) -> Image:
    if old is None:
        now = datetime.now(UTC)
        return Image(name=name, target=target, created_at=now, updated_at=now, labels=labels or Labels())
    kept = old.labels if labels is None else labels
    return msgspec.structs.replace(old, target=target, updated_at=after(old.updated_at), labels=kept)
