"""Image names in the store's SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from steelyard import filters
from steelyard._runtime.calls import run
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.local._rows import to_time
from steelyard.model import Descriptor, Image, Labels
from steelyard.names import ImageNames, check_name, split_fieldpaths
from steelyard.options import check_size

if TYPE_CHECKING:
    from steelyard import _native

TargetRow = tuple[str, int | None, str | None, dict[str, str]]
ImageRow = tuple[str, TargetRow, int, int, dict[str, str]]


class LocalImageNames(ProcessBound, ImageNames):
    """The names of a `LocalStore`. Several processes may use them; each call is one transaction."""

    def __init__(self, core: Callable[[], _native.Store]) -> None:
        self._core = core

    async def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        """Make a name; see `ImageNames.create`."""
        return (await self._assign({name: target}, labels, "refuse"))[0]

    async def assign(
        self, targets: Mapping[str, Descriptor], *, labels: Mapping[str, str] | None = None, overwrite: bool = False
    ) -> list[Image]:
        """Have names hold targets, all or none; see `ImageNames.assign`."""
        return await self._assign(targets, labels, "overwrite" if overwrite else "keep")

    async def _assign(
        self, targets: Mapping[str, Descriptor], labels: Mapping[str, str] | None, taken: str
    ) -> list[Image]:
        rows = [(check_name(name), descriptor_row(target)) for name, target in targets.items()]
        kept = None if labels is None else dict(Labels(labels))
        if not rows:
            await checkpoint()
            return []
        return [to_image(row) for row in await run(partial(self._native.assign, rows, labels=kept, taken=taken))]

    async def update(self, image: Image, *fieldpaths: str, expected: Digest | str | None = None) -> Image:
        """Change what a name holds, or its labels; see `ImageNames.update`."""
        target, everything, keys = split_fieldpaths(fieldpaths)
        change = partial(
            self._native.update,
            check_name(image.name),
            target=descriptor_row(image.target) if target else None,
            labels=dict(Labels(image.labels)) if everything or keys else None,
            keys=None if everything else keys,
            expected=_text(expected),
        )
        return to_image(await run(change))

    async def get(self, name: str) -> Image:
        """Return what is known of a name; see `ImageNames.get`."""
        return to_image(await run(self._native.get, check_name(name)))

    async def list(self, *filters_: str) -> list[Image]:
        """Return the matching names; see `ImageNames.list`."""
        return [to_image(row) for row in await run(_list, self._native, filters_)]

    async def delete(self, name: str, *, expected: Digest | str | None = None) -> None:
        """Remove a name; see `ImageNames.delete`."""
        await run(partial(self._native.delete, check_name(name), expected=_text(expected)))

    @property
    def _native(self) -> _native.Images:
        return self._core().images()


def _list(native: _native.Images, texts: tuple[str, ...]) -> list[ImageRow]:
    return native.list(filters.compile(*texts).native)


def descriptor_row(target: Descriptor) -> TargetRow:
    """Return a descriptor as the native core takes it."""
    check_size(target.size)
    return str(target.digest), target.size, target.media_type, dict(Labels(target.annotations))


def _text(expected: Digest | str | None) -> str | None:
    return None if expected is None else str(Digest.parse(expected))


def to_image(row: ImageRow) -> Image:
    """Return the image name of a native row."""
    name, (digest, size, media_type, annotations), created, updated, labels = row
    target = Descriptor(digest=Digest.parse(digest), size=size, media_type=media_type, annotations=Labels(annotations))
    return Image(
        name=name, target=target, created_at=to_time(created), updated_at=to_time(updated), labels=Labels(labels)
    )
