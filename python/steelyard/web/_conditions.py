"""Conditional requests, by RFC 9110 section 13.

A blob never changes, so its entity tag is its digest, and is strong. A blob has no Last-Modified, so If-Modified-Since and
If-Unmodified-Since are ignored (sections 13.1.3 and 13.1.4), and a date in If-Range never matches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from steelyard.digest import Digest

__all__ = ("etag_of", "if_range_holds", "refusal")

_ETAG = re.compile(r'(?P<weak>W/)?(?P<opaque>"[!#-~\x80-\xff]*")')
_ETAGS = re.compile(r"[ \t,]*" + _ETAG.pattern + r"[ \t]*(?=,|\Z)")


def etag_of(digest: Digest) -> str:
    """Return the entity tag of a blob, in quotes."""
    return f'"{digest}"'


def refusal(fields: Mapping[str, str], etag: str) -> int | None:
    """Return 412 or 304 if the conditions of a GET or HEAD do not hold, or None if they do.

    Args:
        fields: the values of the request's fields, by their names in lower case.
        etag: the entity tag of the blob.

    Spec: RFC 9110 section 13.2.2, in its order.
    """
    if_match = fields.get("if-match")
    if if_match is not None and not _listed(if_match, etag, strong=True):
        return 412
    if_none_match = fields.get("if-none-match")
    if if_none_match is not None and _listed(if_none_match, etag, strong=False):
        return 304
    return None


def if_range_holds(value: str | None, etag: str) -> bool:
    """Return whether If-Range permits ranges: it is absent, or it has this tag. A weak tag never matches."""
    return value is None or value.strip(" \t") == etag


def _listed(value: str, etag: str, *, strong: bool) -> bool:
    """Return whether a list of entity tags has this tag, or is ``*``. A malformed list counts up to its first malformed tag."""
    if value.strip(" \t") == "*":
        return True
    place = 0
    while (match := _ETAGS.match(value, place)) is not None:
        if match["opaque"] == etag and not (strong and match["weak"]):
            return True
        place = match.end()
    return False
