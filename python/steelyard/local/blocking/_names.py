"""The image names, in the store's SQLite file."""

from __future__ import annotations

from collections.abc import Mapping

from steelyard import _native, filters
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.local.blocking._rows import target_row, to_image
from steelyard.model import Descriptor, Image, Labels
from steelyard.names import check_name, split_fieldpaths

__all__ = ("BlockingNames",)


class BlockingNames(ProcessBound):
    """The image names; see `ImageNames`. Each call is one transaction."""

    def __init__(self, native: _native.Images) -> None:
        self._native = native

    def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        """Make a name; see `ImageNames.create`."""
        return self._assign({name: target}, labels, "refuse")[0]

    def assign(
        self, targets: Mapping[str, Descriptor], *, labels: Mapping[str, str] | None = None, overwrite: bool = False
    ) -> list[Image]:
        """Set the targets of names, all or none; see `ImageNames.assign`."""
        return self._assign(targets, labels, "overwrite" if overwrite else "keep")

    def _assign(self, targets: Mapping[str, Descriptor], labels: Mapping[str, str] | None, taken: str) -> list[Image]:
        rows = [(check_name(name), target_row(target)) for name, target in targets.items()]
        kept = None if labels is None else dict(Labels(labels))
        return [to_image(row) for row in self._native.assign(rows, labels=kept, taken=taken)] if rows else []

    def update(self, image: Image, *fieldpaths: str, expected: Digest | str | None = None) -> Image:
        """Change the target or the labels of a name; see `ImageNames.update`."""
        target, everything, keys = split_fieldpaths(fieldpaths)
        row = self._native.update(
            check_name(image.name),
            target=target_row(image.target) if target else None,
            labels=dict(Labels(image.labels)) if everything or keys else None,
            keys=None if everything else keys,
            expected=_text(expected),
        )
        return to_image(row)

    def get(self, name: str) -> Image:
        """Return the image of a name; see `ImageNames.get`."""
        return to_image(self._native.get(check_name(name)))

    def list(self, *filters_: str) -> list[Image]:
        """Return the matching names; see `ImageNames.list`."""
        return [to_image(row) for row in self._native.list(filters.compile(*filters_).native)]

    def delete(self, name: str, *, expected: Digest | str | None = None) -> None:
        """Remove a name; see `ImageNames.delete`."""
        self._native.delete(check_name(name), expected=_text(expected))


def _text(expected: Digest | str | None) -> str | None:
    return None if expected is None else str(Digest.parse(expected))
