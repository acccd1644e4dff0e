"""Image names in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from anyio.lowlevel import checkpoint

from steelyard.digest import Digest
from steelyard.errors import AlreadyExists
from steelyard.events import EventSource, EventType
from steelyard.filters import image_fields
from steelyard.filters._async import choose, compiled
from steelyard.memory._changes import Change, Changes
from steelyard.memory._ingest import now
from steelyard.model import Descriptor, Image, Labels
from steelyard.names import ImageNames, check_held, check_name, split_fieldpaths
from steelyard.options import check_size

__all__ = ("MemoryImageNames",)


class MemoryImageNames(ImageNames):
    """Image names in memory. A store of your own can use them, too, if its names need not outlive the program.

    Args:
        events: publishes the events of the names.
        changes: passes each name that is set to running collections.
    """

    def __init__(self, events: EventSource | None = None, changes: Changes | None = None) -> None:
        self._images: dict[str, Image] = {}
        self._changes = Changes() if changes is None else changes
        self._events = EventSource() if events is None else events

    async def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        """Create a name; see `ImageNames.create`."""
        await checkpoint()
        if check_name(name) in self._images:
            raise AlreadyExists(self._images[name].target.digest, name=name)
        self._set(self._assigned(name, target, Labels(labels)))
        return self._images[name]

    async def assign(
        self, targets: Mapping[str, Descriptor], *, labels: Mapping[str, str] | None = None, overwrite: bool = False
    ) -> list[Image]:
        """Set the targets of names, all or none; see `ImageNames.assign`."""
        await checkpoint()
        kept = None if labels is None else Labels(labels)
        changed = {}
        for name, target in targets.items():
            old = self._images.get(check_name(name))
            if old is None or overwrite:
                changed[name] = self._assigned(name, target, kept)
            elif old.target.digest != target.digest:
                raise AlreadyExists(old.target.digest, name=name)
        for image in changed.values():
            self._set(image)
        return [self._images[name] for name in targets]

    async def update(self, image: Image, *fieldpaths: str, expected: Digest | str | None = None) -> Image:
        """Change the target or the labels of a name; see `ImageNames.update`."""
        await checkpoint()
        moved, everything, keys = split_fieldpaths(fieldpaths)
        check_size(image.target.size)
        given = Labels(image.labels)
        old = self._held(image.name, expected)
        labels = dict(given) if everything else dict(old.labels)
        for key in () if everything else keys:
            labels.pop(key, None)
            if key in given:
                labels[key] = given[key]
        target = image.target if moved else old.target
        changed = msgspec.structs.replace(old, target=target, labels=Labels(labels), updated_at=now())
        self._set(changed)
        return changed

    async def get(self, name: str) -> Image:
        """Return a name with its target, labels and times; see `ImageNames.get`."""
        await checkpoint()
        return self._held(name, None)

    async def list(self, *filters: str) -> list[Image]:
        """Return the matching names; see `ImageNames.list`."""
        chosen = await compiled(filters)
        return await choose(chosen, [image for _, image in sorted(self._images.items())], image_fields)

    async def delete(self, name: str, *, expected: Digest | str | None = None) -> None:
        """Remove a name; see `ImageNames.delete`."""
        await checkpoint()
        image = self._held(name, expected)
        del self._images[name]
        self._publish("name_removed", image)

    def _set(self, image: Image) -> None:
        old = self._images.get(image.name)
        self._images[image.name] = image
        self._changes.note(Change("name", image.name))
        previous = None if old is None else old.target.digest
        self._publish("name_set" if previous in {None, image.target.digest} else "name_moved", image, previous)

    def _publish(self, kind: EventType, image: Image, previous: Digest | None = None) -> None:
        target = image.target
        self._events.publish(
            kind, digest=target.digest, size=target.size, name=image.name, previous=previous, labels=image.labels
        )

    # Methods for the store

    def names(self) -> Sequence[str]:
        """Return a copy of all names, in any order."""
        return tuple(self._images)

    def find(self, name: str) -> Image | None:
        """Return a name with its target, labels and times, or None if it does not exist."""
        return self._images.get(name)

    def _assigned(self, name: str, target: Descriptor, labels: Labels | None) -> Image:
        check_size(target.size)
        time = now()
        old = self._images.get(name)
        if old is None:
            return Image(name=name, target=target, created_at=time, updated_at=time, labels=labels or Labels())
        kept = old.labels if labels is None else labels
        return msgspec.structs.replace(old, target=target, updated_at=time, labels=kept)

    def _held(self, name: str, expected: Digest | str | None) -> Image:
        return check_held(name, self._images.get(check_name(name)), expected)
