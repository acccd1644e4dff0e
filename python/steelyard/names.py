"""The interface of image names: mutable names of descriptors, which a `Store` keeps in addition to its blobs.

A name such as ``docker.io/library/alpine:3.20`` holds a descriptor: the digest of an image's manifest or index, its size
and its media type. The store does not check the target: a name may hold a digest that is not stored. For the store, a name is
any text; `steelyard.images` has the grammar of names and finds the blobs of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, NameMoved, NotFound
from steelyard.model import Descriptor, Image

__all__ = ("NAME_LIMIT", "ImageNames", "check_held", "check_name", "split_fieldpaths")

NAME_LIMIT = 4096
"""The most bytes that an image name may have, in UTF-8."""


class ImageNames(ABC):
    """The image names of a store. Every change is atomic and survives a power loss when the call returns."""

    @abstractmethod
    async def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        """Create a name.

        Args:
            name: any text except the empty one, at most `NAME_LIMIT` bytes in UTF-8, without control characters.
            target: the descriptor that the name holds.
            labels: the name's labels.

        Raises:
            AlreadyExists: the name exists, with any target; `AlreadyExists.digest` is its digest.
            InvalidArgument: the name is invalid.
            InvalidLabel: a label is too long.
        """

    @abstractmethod
    async def assign(
        self, targets: Mapping[str, Descriptor], *, labels: Mapping[str, str] | None = None, overwrite: bool = False
    ) -> list[Image]:
        """Set the targets of names: all of them or, if one is refused, none.

        Args:
            targets: the new target of each name.
            labels: the labels of each name; with None, existing names keep their labels.
            overwrite: move names that hold another digest, and update names that hold the same digest. Without it, the
                latter do not change.

        Returns:
            The new `Image` of each name, in the order of `targets`.

        Raises:
            AlreadyExists: without `overwrite`, a name holds another digest.
            InvalidArgument: a name is invalid.
            InvalidLabel: a label is too long.
        """

    @abstractmethod
    async def update(self, image: Image, *fieldpaths: str, expected: Digest | str | None = None) -> Image:
        """Change the target of a name, or its labels.

        Args:
            image: its `name` selects the name, and it has the new target and labels; its times are ignored.
            fieldpaths: the parts to change. Without any: target and labels. ``target``; ``labels``: all labels;
                ``labels.<key>``: set only that key, or remove it if `image.labels` lacks it.
            expected: change the name only if it holds this digest.

        Raises:
            NotFound: there is no such name.
            NameMoved: the name does not hold `expected`.
            InvalidArgument: a field path names something that cannot change.
            InvalidLabel: a label is too long.
        """

    @abstractmethod
    async def get(self, name: str) -> Image:
        """Return target, labels and times of a name.

        Raises:
            NotFound: there is no such name.
        """

    @abstractmethod
    async def list(self, *filters: str) -> list[Image]:
        """Return the names that match any of the filters, ordered by name; `steelyard.filters` describes the language.

        Raises:
            InvalidFilter: a filter does not parse.
        """

    @abstractmethod
    async def delete(self, name: str, *, expected: Digest | str | None = None) -> None:
        """Remove a name; the blob that it holds stays stored.

        Args:
            name: the name.
            expected: remove it only if it holds this digest.

        Raises:
            NotFound: there is no such name.
            NameMoved: the name does not hold `expected`.
        """


def check_name(name: str) -> str:
    """Return the name if it is valid. Names are shown to people, so they have no control characters.

    Raises:
        InvalidArgument: it is empty, longer than `NAME_LIMIT`, not Unicode text, or has control characters.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"image name {name[:100]!r}: not Unicode text: {error.reason}") from None
    if not 0 < size <= NAME_LIMIT:
        raise InvalidArgument(f"image name {name[:100]!r}: expected 1 to {NAME_LIMIT} bytes in UTF-8, found {size}")
    if any(letter < " " or "\x7f" <= letter < "\xa0" for letter in name):
        raise InvalidArgument(f"image name {name[:100]!r}: it has control characters")
    return name


def check_held(name: str, image: Image | None, expected: Digest | str | None) -> Image:
    """Return the image of a name if it exists and holds the expected digest, or any digest if None is expected.

    Raises:
        NotFound: there is no such name.
        NameMoved: the name does not hold `expected`.
    """
    if image is None:
        raise NotFound(name, kind="image name")
    wanted = image.target.digest if expected is None else Digest.parse(expected)
    if image.target.digest != wanted:
        raise NameMoved(name, expected=wanted, actual=image.target.digest)
    return image


def split_fieldpaths(fieldpaths: tuple[str, ...]) -> tuple[bool, bool, tuple[str, ...]]:
    """Return which parts the field paths of an update select: the target, all labels, single labels.

    Raises:
        InvalidArgument: one of them names something that cannot change.
    """
    keys = []
    for path in fieldpaths:
        if path.startswith("labels.") and path != "labels.":
            keys.append(path.removeprefix("labels."))
        elif path not in {"target", "labels"}:
            raise InvalidArgument(f"field path {path!r}: only 'target', 'labels' and 'labels.<key>' can be updated")
    return not fieldpaths or "target" in fieldpaths, not fieldpaths or "labels" in fieldpaths, tuple(keys)
