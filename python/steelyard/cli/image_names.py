"""What people type for image names and platforms, and how they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from steelyard.cli.explain import UsageError
from steelyard.content import Store
from steelyard.errors import InvalidArgument, NotFound
from steelyard.images import ImageReference, Platforms, normalise
from steelyard.model import Image

__all__ = ("familiar", "find_image", "platforms_of", "whole_name")


async def find_image(store: Store, text: str) -> Image:
    """Return the image name that the text is, or that people mean by it: ``alpine`` for ``docker.io/library/alpine:latest``.

    Raises:
        NotFound: there is neither.
    """
    with suppress(NotFound):
        return await store.images.get(text)
    with suppress(NotFound, InvalidArgument):
        return await store.images.get(normalise(text))
    raise NotFound("image name", text)


def whole_name(text: str) -> str:
    """Return the name for an image that people mean by the text.

    Raises:
        InvalidReference, InvalidDigest: it cannot be one.
    """
    return normalise(text)


def familiar(name: str) -> str:
    """Return an image name as people write it; what is no reference stays as it is."""
    with suppress(InvalidArgument):
        return ImageReference.parse(name).familiar
    return name


def platforms_of(words: Sequence[str], *, every: bool) -> Platforms | None:
    """Return what ``--platform`` and ``--all-platforms`` ask for; None is everything.

    Raises:
        UsageError: both were given.
        InvalidArgument: a word is no platform.
    """
    if words and every:
        raise UsageError("--platform and --all-platforms: expected one of them")
    return Platforms(*words) if words else None
