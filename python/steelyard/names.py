"""The interface of image names: mutable names for descriptors, which a `Store` has beside its blobs.

A name such as ``docker.io/library/alpine:3.20`` holds a descriptor: the digest of an image's manifest or index, its size
and its media type. The store does not look at what is there: a name may hold what is not stored. `steelyard.images` knows
the grammar of names and what belongs to an image; to the store a name is any text.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from steelyard.digest import Digest
from steelyard.errors import InvalidArgument
from steelyard.model import Descriptor, Image

__all__ = ("NAME_LIMIT", "ImageNames", "check_name", "split_fieldpaths")

NAME_LIMIT = 4096
"""The most bytes that an image name may have, in UTF-8."""


class ImageNames(ABC):
    """The image names of a store. What a call changes survives a power loss when it returns, and happens at once for all readers."""

    @abstractmethod
    async def create(self, name: str, target: Descriptor, *, labels: Mapping[str, str] | None = None) -> Image:
        """Make a name.

        Args:
            name: any text but the empty one, at most `NAME_LIMIT` bytes in UTF-8, without control characters.
            target: what it is to hold.
            labels: the name's labels.

        Raises:
            AlreadyExists: the name is taken, whatever it holds; `AlreadyExists.digest` says what.
            InvalidArgument: it cannot be a name.
            InvalidLabel: a label is too long.
        """

    @abstractmethod
    async def assign(
        self, targets: Mapping[str, Descriptor], *, labels: Mapping[str, str] | None = None, overwrite: bool = False
    ) -> list[Image]:
        """Have names hold targets: all of them or, when one is refused, none.

        Args:
            targets: what each name is to hold.
            labels: labels of each; None: those of a name that is there stay.
            overwrite: whether a name that holds another digest is moved. One that holds the same digest is only touched
                with this.

        Returns:
            What is then known of each, in the order of `targets`.

        Raises:
            AlreadyExists: without `overwrite`, a name holds another digest.
            InvalidArgument: one cannot be a name.
            InvalidLabel: a label is too long.
        """

    @abstractmethod
    async def update(self, image: Image, *fieldpaths: str, expected: Digest | str | None = None) -> Image:
        """Change what a name holds, or its labels.

        Args:
            image: says which by its `name`, and gives the target and the labels; its times are ignored.
            fieldpaths: what to change. None: target and labels. ``target``; ``labels``: all of them; ``labels.<key>``: only
                that key, which is removed when `image.labels` lacks it.
            expected: change the name only if it holds this digest.

        Raises:
            NotFound: there is no such name.
            NameMoved: it does not hold `expected`.
            InvalidArgument: a field path names something that cannot change.
            InvalidLabel: a label is too long.
        """

    @abstractmethod
    async def get(self, name: str) -> Image:
        """Return what is known of a name.

        Raises:
            NotFound: there is no such name.
        """

    @abstractmethod
    async def list(self, *filters: str) -> list[Image]:
        """Return the names that match any of the filters, ordered by name; `steelyard.filters` has their language.

        Raises:
            InvalidFilter: a filter does not parse.
        """

    @abstractmethod
    async def delete(self, name: str, *, expected: Digest | str | None = None) -> None:
        """Remove a name; what it held stays stored.

        Args:
            name: the name.
            expected: remove it only if it holds this digest.

        Raises:
            NotFound: there is no such name.
            NameMoved: it does not hold `expected`.
        """


def check_name(name: str) -> str:
    """Return the name, if it can be one: names are shown to people, so that they have no control characters.

    Raises:
        InvalidArgument: it is empty, longer than `NAME_LIMIT`, no Unicode text, or has control characters.
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


def split_fieldpaths(fieldpaths: tuple[str, ...]) -> tuple[bool, bool, tuple[str, ...]]:
    """Return what the field paths of an update name: the target? all labels? which single labels?

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
