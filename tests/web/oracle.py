"""The meaning of a field Range, found in another way than the library does: byte by byte, and only for short blobs."""

from __future__ import annotations

import random
import re

__all__ = ("Expected", "expected", "generated")

Expected = tuple[int, list[tuple[int, int]]]
"""The status, and the first and last byte of each range that the blob has, in the order of the field."""

_LIMIT = 100


def expected(value: str, size: int) -> Expected:
    """Return the answer by the grammar of RFC 9110 section 14.1.1 and by the page docs/web.md."""
    if re.match(r"(?i)[ \t]*bytes=", value) is None:
        return 200, []
    elements = value[value.index("=") + 1 :].split(",")
    if len(elements) > _LIMIT:
        return 416, []
    elements = [element.strip(" \t") for element in elements]
    if not any(elements):
        return 200, []
    found = []
    for element in filter(None, elements):
        if re.fullmatch(r"\d+-\d*|-\d+", element, re.ASCII) is None:
            return 200, []
        first, last = element.split("-")
        if first and last and int(first) > int(last):
            return 200, []
        if first:
            have = [byte for byte in range(size) if int(first) <= byte and (not last or byte <= int(last))]
        elif int(last) and not size:
            return 200, []
        else:
            have = [byte for byte in range(size) if byte >= size - int(last)]
        if have:
            found.append((have[0], have[-1]))
    return (206, found) if found else (416, [])


def generated(choose: random.Random, size: int) -> str:
    """Return a field: most often a valid one, else something close to it."""
    separator = choose.choice([",", ",", ", ", " ,\t", ",,", " , , "])
    text = "bytes=" + separator.join(_spec(choose, size) for _ in range(_count(choose)))
    match choose.randrange(12):
        case 0:
            place = choose.randrange(len(text) + 1)
            return text[:place] + choose.choice("-,=; \tx0") + text[place:]
        case 1:
            place = choose.randrange(len(text))
            return text[:place] + text[place + 1 :]
        case 2:
            return choose.choice(["Bytes=", "BYTES=", "items=", "=", "", "bytes", "bytes ="]) + text.partition("=")[2]
        case _:
            return text


def _count(choose: random.Random) -> int:
    return choose.choice(
        [1, 1, 1, 1, 2, 2, 3, 5, 8, 30, _LIMIT, _LIMIT + 1, 400] if choose.random() < 0.2 else [1, 1, 2, 3]
    )


def _spec(choose: random.Random, size: int) -> str:
    first, last = choose.randrange(size + 20), choose.randrange(size + 20)
    if choose.random() < 0.9 and first > last:
        first, last = last, first
    zeros = "0" * choose.choice([0, 0, 0, 0, 1, 30])
    match choose.randrange(10):
        case 0:
            return f"{zeros}{first}-"
        case 1:
            return f"-{zeros}{last}"
        case 2:
            return (
                f"{first}-{choose.choice(['9' * 18, '9' * 19, '9' * 20, '9' * 4400])}"
                if choose.random() < 0.1
                else f"{first}-"
            )
        case 3:
            return choose.choice(["-", "--1", "-0", "0-0", "1-2-3", "+1-2", "0x1-2", "1.5-2", "a-b", "²-3", "", " "])
        case _:
            return f"{zeros}{first}-{last}"
