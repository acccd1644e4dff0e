"""The image names of a `LocalStore`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from steelyard._runtime.calls import run
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Digest
from steelyard.local.blocking import BlockingNames
from steelyard.model import Descriptor, Image, Labels
from steelyard.names import ImageNames

__all__ = ("LocalImageNames",)


class LocalImageNames(ProcessBound, ImageNames):
    """The names of a `LocalStore`: the calls of `BlockingNames`, one hop each. Several processes may use them."""

    def __init__(self, names: Callable[[], BlockingNames]) -> None:
        self._names = names

    async def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        """Make a name; see `ImageNames.create`."""
        return await run(partial(self._names().create, name, target, labels=_kept(labels)))

    async def assign(
        self, targets: Mapping[str, Descriptor], *, labels: Mapping[str, str] | None = None, overwrite: bool = False
    ) -> list[Image]:
        """Set the targets of names, all or none; see `ImageNames.assign`."""
        assign = partial(self._names().assign, dict(targets), labels=_kept(labels), overwrite=overwrite)
        return await run(assign)

    async def update(self, image: Image, *fieldpaths: str, expected: Digest | str | None = None) -> Image:
        """Change the target or the labels of a name; see `ImageNames.update`."""
        return await run(partial(self._names().update, image, *fieldpaths, expected=expected))

    async def get(self, name: str) -> Image:
        """Return the image of a name; see `ImageNames.get`."""
        return await run(self._names().get, name)

    async def list(self, *filters: str) -> list[Image]:
        """Return the matching names; see `ImageNames.list`."""
        return await run(partial(self._names().list, *filters))

    async def delete(self, name: str, *, expected: Digest | str | None = None) -> None:
        """Remove a name; see `ImageNames.delete`."""
        await run(partial(self._names().delete, name, expected=expected))


def _kept(labels: Mapping[str, str] | None) -> Labels | None:
    # A copy: the caller may change its own mapping while the thread works.
    return None if labels is None else Labels(labels)
