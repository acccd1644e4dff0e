"""The image names of a containerd, through its Images service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from anyio.lowlevel import checkpoint

from steelyard._runtime.fork import ProcessBound
from steelyard.containerd.remote._calls import GRACE, Limits, ask
from steelyard.containerd.remote._channel import Connection, Headers
from steelyard.containerd.remote._errors import About, NameTaken
from steelyard.containerd.remote._messages import method
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, NameMoved, NotFound, SteelyardError
from steelyard.filters import image_fields
from steelyard.filters._async import choose, compiled
from steelyard.model import Descriptor, Image, Labels
from steelyard.names import ImageNames, check_name, split_fieldpaths
from steelyard.options import check_size

__all__ = ("RemoteImageNames",)


class RemoteImageNames(ProcessBound, ImageNames):
    """Image names behind a server. A server that only has content answers each call with Unsupported.

    The service changes one name at a time. So `assign` is not a transaction: when a later name is refused, the earlier changes are undone,
    and other clients may see them meanwhile. A note of the error names each change that could not be undone. `expected` is compared before
    the change, but containerd does not compare it again in the change.
    """

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection, self._limits = connection, limits

    async def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        """Create a name; see `ImageNames.create`.

        Raises:
            InvalidArgument: also if the target has no size or media type, which containerd requires.
        """
        request = {"image": _message(check_name(name), target, Labels(labels))}
        image: Image
        try:
            [image] = await self._send("Create", name, request, grace=GRACE)
        except (AlreadyExists, NameTaken):
            held = await self.get(name)
            raise AlreadyExists(held.target.digest, name=name) from None
        return image

    async def assign(
        self, targets: Mapping[str, Descriptor], *, labels: Mapping[str, str] | None = None, overwrite: bool = False
    ) -> list[Image]:
        """Set the targets of names; see `ImageNames.assign`."""
        await checkpoint()
        kept = None if labels is None else Labels(labels)
        held = {}
        for name, target in targets.items():
            _message(check_name(name), target, Labels())
            old = held[name] = await self._find(name)
            if old is not None and not overwrite and old.target.digest != target.digest:
                raise AlreadyExists(old.target.digest, name=name)
        changed: list[str] = []
        images = []
        try:
            for name, target in targets.items():
                images.append(await self._assign(name, target, kept, held[name], overwrite=overwrite))
                changed.append(name)
        except Exception as error:
            for name in reversed(changed):
                try:
                    await self._restore(name, held[name])
                except SteelyardError as failure:
                    error.add_note(f"image name {name}: the change was not undone: {failure}")
            raise
        return images

    async def update(self, image: Image, *fieldpaths: str, expected: Digest | str | None = None) -> Image:
        """Change the target or the labels of a name; see `ImageNames.update`."""
        moved, everything, keys = split_fieldpaths(fieldpaths)
        check_size(image.target.size)
        labels = Labels(image.labels)
        held = await self._expect(image.name, expected)
        paths = ["target"] if moved else []
        paths += ["labels"] if everything else [f"labels.{key}" for key in keys]
        message = _message(image.name, image.target if moved else held.target, labels)
        request = {"image": message, "update_mask": paths}
        changed: Image
        [changed] = await self._send("Update", image.name, request, grace=GRACE, headers=_expected(expected))
        return changed

    async def get(self, name: str) -> Image:
        """Return the target, labels and times of a name; see `ImageNames.get`."""
        check_name(name)
        image: Image
        [image] = await self._send("Get", name, {"name": name})
        return image

    async def list(self, *filters: str) -> list[Image]:
        """Return the matching names; see `ImageNames.list`."""
        chosen = await compiled(filters)
        images: Sequence[Image] = await self._send("List", "", {})
        return sorted(await choose(chosen, images, image_fields), key=lambda image: image.name)

    async def delete(self, name: str, *, expected: Digest | str | None = None, collect: bool = False) -> None:
        """Remove a name; see `ImageNames.delete`.

        Args:
            name: the name.
            expected: the digest that the name must have; otherwise it is not removed.
            collect: make containerd collect its garbage before it answers.
        """
        check_name(name)
        if expected is not None:
            await self._expect(name, expected)
        request = {"name": name, "sync": collect}
        await self._send("Delete", name, request, grace=GRACE, headers=_expected(expected))

    async def _assign(
        self, name: str, target: Descriptor, labels: Labels | None, held: Image | None, *, overwrite: bool
    ) -> Image:
        if held is None:
            return await self.create(name, target, labels=labels)
        if not overwrite:
            return held
        if labels is None:
            return await self.update(msgspec.structs.replace(held, target=target), "target")
        return await self.update(msgspec.structs.replace(held, target=target, labels=labels), "target", "labels")

    async def _restore(self, name: str, held: Image | None) -> None:
        if held is None:
            await self.delete(name)
        else:
            await self.update(held)

    async def _find(self, name: str) -> Image | None:
        try:
            return await self.get(name)
        except NotFound:
            return None

    async def _expect(self, name: str, expected: Digest | str | None) -> Image:
        wanted = None if expected is None else Digest.parse(expected)
        held = await self.get(name)
        if wanted is not None and held.target.digest != wanted:
            raise NameMoved(name, expected=wanted, actual=held.target.digest)
        return held

    async def _send(
        self, call: str, name: str, request: dict[str, Any], *, grace: float = 0.0, headers: Headers = ()
    ) -> Sequence[Any]:
        about = About(kind="image name", name=name, call=f"Images.{call}")
        called = method("Images", call)
        return await ask(self._connection, called, request, about, self._limits, grace=grace, headers=headers)


def _expected(expected: Digest | str | None) -> Headers:
    """Return the header that makes our own service compare and change in one step. containerd ignores it."""
    return () if expected is None else (("steelyard-expected", str(expected)),)


def _message(name: str, target: Descriptor, labels: Labels) -> dict[str, Any]:
    check_size(target.size)
    return {
        "name": name,
        "labels": dict(labels),
        "target": {
            "digest": str(target.digest),
            "size": target.size or 0,
            "media_type": target.media_type or "",
            "annotations": dict(target.annotations),
        },
    }
