"""The field Range, by RFC 9110 section 14."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ("RANGES_LIMIT", "ByteRange", "requested")

RANGES_LIMIT = 100
"""The most ranges of one request. A request with more is refused, as RFC 9110 section 17.15 advises."""

_GAP = 80
"""The largest gap between two ranges that are sent as one: the header of a separate part would be longer than the gap."""

_DIGITS = 19
"""The most digits of a position. A number with more digits is beyond the end of every blob."""

_SPEC = re.compile(r"(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+)")


class ByteRange(NamedTuple):
    """Some bytes of a blob.

    Attributes:
        start: the offset of the first byte.
        stop: the offset after the last byte.
    """

    start: int
    stop: int


def requested(value: str, size: int) -> tuple[ByteRange, ...] | None:
    """Return the ranges of a Range field that the blob has, in their order.

    Ranges that overlap, or lie close to each other, become one range, in the place of the first of them. So no byte is sent twice.

    Args:
        value: the value of the field.
        size: the size of the blob.

    Returns:
        None if the field is malformed or has another unit, because a server then ignores it. An empty tuple if there are too many ranges,
        or the blob has no byte of them.

    Spec: RFC 9110 sections 14.1.1, 14.1.2 and 15.3.7.2.
    """
    unit, equals, listed = value.strip(" \t").partition("=")
    if not equals or unit.lower() != "bytes":
        return None
    if listed.count(",") >= RANGES_LIMIT:
        return ()
    specs = [spec for spec in (element.strip(" \t") for element in listed.split(",")) if spec]
    found: list[ByteRange] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        first, last, suffix = match.group("first", "last", "suffix")
        if suffix is not None:
            start, stop = max(0, size - _number(suffix)), size
            if _number(suffix) and not size:
                return None  # the last bytes of an empty blob: no Content-Range can express that
        elif last and _order(last) < _order(first):
            return None
        else:
            start, stop = _number(first), min(size, _number(last) + 1) if last else size
        if start < stop:
            found.append(ByteRange(start, stop))
    return _joined(found) if specs else None


def _order(digits: str) -> tuple[int, str]:
    """Return a sort key for numbers of any length, because `int` refuses very long ones."""
    digits = digits.lstrip("0")
    return len(digits), digits


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return 10**_DIGITS if len(digits) > _DIGITS else int(digits or "0")


def _joined(ranges: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    joined: list[tuple[int, ByteRange]] = []
    for place, one in sorted(enumerate(ranges), key=lambda item: item[1]):
        if joined and one.start <= joined[-1][1].stop + _GAP:
            before, last = joined.pop()
            joined.append((min(before, place), ByteRange(last.start, max(last.stop, one.stop))))
        else:
            joined.append((place, one))
    return tuple(one for _, one in sorted(joined))
