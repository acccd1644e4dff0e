"""Lookup of many blobs at once, by listing where that takes fewer requests than one for each blob."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from steelyard._runtime.chunks import slices
from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Digest
from steelyard.objects._layout import BLOBS, blob_key
from steelyard.objects._requests import PAGE, Object, Requests

__all__ = ("Looked", "look_at_many")

_LANES = 32
"""The most listings at once."""

_WORTH = 4
"""The number of digests that a page must answer on average. With fewer, single requests cost less, because a page is much larger."""


class Looked(NamedTuple):
    """The answers of listings.

    Attributes:
        pages: for each page, the objects that were found, in order.
        left: the digests that no page has answered.
    """

    pages: list[list[tuple[Digest, Object]]]
    left: list[Digest]


async def look_at_many(requests: Requests, digests: Sequence[Digest]) -> Looked:
    """Return the objects of blobs, as far as listing costs less than single requests.

    Each page begins at the next digest that has no answer yet, so there are never more pages than digests. A lane stops when its pages
    answer too few digests: then the store has many more blobs than the caller asks for.
    """
    wanted = sorted(set(digests), key=blob_key)
    if len(wanted) < _WORTH:
        return Looked([], wanted)
    size = max(PAGE, -(-len(wanted) // _LANES))
    lanes = list(slices(wanted, size))

    async def look(lane: list[Digest]) -> Looked:
        return await _look(requests, lane)

    looked = await map_concurrently(lanes, look, concurrency=_LANES)
    return Looked([page for each in looked for page in each.pages], [digest for each in looked for digest in each.left])


async def _look(requests: Requests, digests: list[Digest]) -> Looked:
    """Look up one lane of sorted digests."""
    keys = [blob_key(digest) for digest in digests]
    pages: list[list[tuple[Digest, Object]]] = []
    answered = 0
    while answered < len(keys) and answered >= _WORTH * len(pages):
        # A listing begins after a key, so it gets one just before the wanted key.
        objects, more = await requests.page(BLOBS, after=keys[answered][:-1])
        there = {each.key: each for each in objects}
        end = bisect_right(keys, objects[-1].key) if more and objects else len(keys)
        pages.append([(digests[at], there[keys[at]]) for at in range(answered, end) if keys[at] in there])
        answered = end
    return Looked(pages, digests[answered:])
