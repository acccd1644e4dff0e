"""Sizes and times on the command line: ``50GiB``, ``24h``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Self

__all__ = ("Duration", "Size", "span")

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"": 1, "B": 1} | {
    f"{letter}{end}": base**power
    for end, base in (("iB", 1024), ("B", 1000))
    for power, letter in enumerate("KMGTP", 1)
}


class Size(int):
    """A number of bytes: digits, and a unit such as KiB, MiB, GiB, or KB, MB, GB."""

    def __new__(cls, text: str) -> Self:
        """Return the size.

        Raises:
            ValueError: the text is not a size.
        """
        match = _NUMBER.fullmatch(text)
        if match is None or match[2] not in _BYTES or ("." in match[1] and _BYTES[match[2]] == 1):
            raise ValueError(text)
        return super().__new__(
            cls, float(match[1]) * _BYTES[match[2]] if "." in match[1] else int(match[1]) * _BYTES[match[2]]
        )


class Duration(timedelta):
    """A time: digits, and one of s, m, h, d, w."""

    def __new__(cls, text: str) -> Self:
        """Return the time.

        Raises:
            ValueError: the text is not a time, or the time is too long.
        """
        match = _NUMBER.fullmatch(text)
        if match is None or match[2] not in _SECONDS:
            raise ValueError(text)
        try:
            return super().__new__(cls, seconds=float(match[1]) * _SECONDS[match[2]])
        except OverflowError:
            raise ValueError(text) from None


def span(time: timedelta) -> str:
    """Return a readable time: ``24 h``, ``90 s``."""
    seconds = time.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"
