"""Fields of HTTP: validators, ranges and pauses.

Spec: RFC 9110 (validators in 8.8, ranges in 14, Retry-After in 10.2.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

__all__ = ("agrees", "content_range", "date_of", "length_of", "retry_after", "strong_validator")

_STRONG = re.compile(r'"[\x21\x23-\x7e]{0,1000}"')
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(?:(\d{1,18})|\*)", re.ASCII)

_CLOCKS = timedelta(seconds=60)
"""The time by which a file must be older than the response, so that its time is a strong validator even if two clocks differ."""


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Return the value for If-Range that selects only parts of the same bytes, or None if the response has no strong validator.

    Spec: RFC 9110, 8.8.2.2 and 13.1.5. A time does not count beside an entity tag, even a weak one.
    """
    etag = headers.get("etag")
    if etag is not None:
        return etag if _STRONG.fullmatch(etag) else None
    modified, sent = headers.get("last-modified"), date_of(headers.get("date"))
    changed = date_of(modified)
    if modified is None or changed is None or sent is None or sent - changed < _CLOCKS:
        return None
    return modified


def agrees(headers: Mapping[str, str], validator: str) -> bool:
    """Return whether a part belongs to the version with the validator.

    Spec: RFC 9110, 15.3.7. A part has the entity tag that the whole has, but need not repeat the time.
    """
    if validator.startswith('"'):
        return headers.get("etag") == validator
    return headers.get("last-modified") in {None, validator}


def content_range(value: str | None) -> tuple[int | None, int | None, int | None] | None:
    """Return the first byte, last byte and total of a Content-Range, or None if it is absent or contradicts itself."""
    match = _RANGE.fullmatch(value or "")
    if match is None:
        return None
    first, last, total = (None if text is None else int(text) for text in match.groups())
    if first is not None and last is not None and (last < first or (total is not None and last >= total)):
        return None
    return first, last, total


def length_of(headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length, or None."""
    text = headers.get("content-length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After, which is a number or a time, or None if it is absent or malformed."""
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return float(value)
    then = date_of(value.strip())
    if then is None:
        return None
    return max(0.0, (then - (datetime.now(UTC) if now is None else now)).total_seconds())


def date_of(value: str | None) -> datetime | None:
    """Return the time of a field, or None."""
    if value is None or not value.endswith(" GMT"):
        return None
    try:
        found = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
