"""Which of an index's manifests are meant by the platforms that a caller wants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from steelyard.errors import InvalidArgument
from steelyard.images.documents import OCIDescriptor
from steelyard.images.platforms import Platform

__all__ = ("Platforms",)


@final
class Platforms:
    """The platforms that a caller wants, each with what else runs on it; immutable.

    Args:
        wanted: platforms or their texts, at least one.
        strict: whether only the very platform counts, and none that runs on it as well.

    Raises:
        InvalidArgument: none was given, or a text is none.
    """

    __slots__ = ("_orders", "wanted")

    def __init__(self, *wanted: Platform | str, strict: bool = False) -> None:
        if not wanted:
            raise InvalidArgument("platforms: expected at least one")
        self.wanted = tuple(dict.fromkeys(Platform.parse(each) for each in wanted))
        """The platforms, normalised, each once."""
        self._orders = tuple((each,) if strict else tuple(each.runs()) for each in self.wanted)

    def matches(self, platform: Platform) -> bool:
        """Return whether what is for `platform` runs on one of those that are wanted."""
        return any(each.accepts(platform) for order in self._orders for each in order)

    def unmatched(self, platforms: Iterable[Platform]) -> tuple[Platform, ...]:
        """Return those that are wanted and that nothing for any of `platforms` runs on."""
        offered = list(platforms)
        return tuple(
            wanted
            for wanted, order in zip(self.wanted, self._orders, strict=True)
            if not any(each.accepts(platform) for each in order for platform in offered)
        )

    def choose(self, descriptors: Sequence[OCIDescriptor]) -> tuple[OCIDescriptor, ...]:
        """Return those to take, in their order: for each platform all of the best there is; those that say no platform always."""
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
