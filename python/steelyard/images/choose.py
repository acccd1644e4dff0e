"""Selecting manifests of an index by platforms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from steelyard.errors import InvalidArgument
from steelyard.images.documents import OCIDescriptor
from steelyard.images.platforms import Platform

__all__ = ("Platforms",)


@final
class Platforms:
    """The wanted platforms, each with the other platforms that run on it; immutable.

    Args:
        wanted: platforms or their texts, at least one.
        strict: whether only the platform itself matches, and no other platform that runs on it.

    Raises:
        InvalidArgument: no platform was given, or a text is not a platform.
    """

    __slots__ = ("_orders", "wanted")

    def __init__(self, *wanted: Platform | str, strict: bool = False) -> None:
        if not wanted:
            raise InvalidArgument("platforms: expected at least one")
        self.wanted: tuple[Platform, ...] = tuple(dict.fromkeys(Platform.parse(each) for each in wanted))
        """The platforms, normalised, each once."""
        self._orders = tuple((each,) if strict else tuple(each.runs()) for each in self.wanted)

    def matches(self, platform: Platform) -> bool:
        """Return whether images for `platform` run on a wanted platform."""
        return any(each.accepts(platform) for order in self._orders for each in order)

    def unmatched(self, platforms: Iterable[Platform]) -> tuple[Platform, ...]:
        """Return the wanted platforms on which none of `platforms` runs."""
        offered = list(platforms)
        return tuple(
            wanted
            for wanted, order in zip(self.wanted, self._orders, strict=True)
            if not any(each.accepts(platform) for each in order for platform in offered)
        )

    def choose(self, descriptors: Sequence[OCIDescriptor]) -> tuple[OCIDescriptor, ...]:
        """Return the selected descriptors, in order: the best matches for each platform, and all descriptors without a platform."""
        taken = {index for index, each in enumerate(descriptors) if each.platform is None}
        for order in self._orders:
            for best in order:
                found = {
                    index
                    for index, each in enumerate(descriptors)
                    if each.platform is not None and best.accepts(each.platform)
                }
                taken |= found
                if found:
                    break
        return tuple(each for index, each in enumerate(descriptors) if index in taken)

    def __repr__(self) -> str:
        return f"Platforms({', '.join(repr(str(each)) for each in self.wanted)})"
