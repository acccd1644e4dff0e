"""Image names and platforms on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from steelyard._lazy import Module
from steelyard.cli.explain import UsageError
from steelyard.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from steelyard import images
    from steelyard.content import Store
    from steelyard.images import Platforms
    from steelyard.model import Image
else:
    images = Module("steelyard.images")

__all__ = ("familiar", "find_image", "platforms_of", "whole_name")


async def find_image(store: Store, text: str) -> Image:
    """Find an image by its name; ``alpine`` means ``docker.io/library/alpine:latest``.

    Raises:
        NotFound: there is neither.
    """
    with suppress(NotFound):
        return await store.images.get(text)
    with suppress(NotFound, InvalidArgument):
        return await store.images.get(images.normalise(text))
    raise NotFound(text, kind="image name")


def whole_name(text: str) -> str:
    """Return the full name of an image.

    Raises:
        InvalidReference, InvalidDigest: the text is not an image name.
    """
    return images.normalise(text)


def familiar(name: str) -> str:
    """Return the short form of an image name; other text is returned unchanged."""
    with suppress(InvalidArgument):
        return images.ImageReference.parse(name).familiar
    return name


def platforms_of(words: Sequence[str], *, every: bool) -> Platforms | None:
    """Return the platforms of ``--platform`` and ``--all-platforms``; None means all.

    Raises:
        UsageError: both were given.
        InvalidArgument: a word is not a platform.
    """
    if words and every:
        raise UsageError("--platform and --all-platforms: expected one of them")
    return images.Platforms(*words) if words else None
