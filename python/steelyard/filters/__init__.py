r"""The filter language of `Manager.walk`, `IngestManager.list_statuses`, `ImageNames.list` and `Leases.list`.

It is containerd's language with comparisons added. A **selector** tests one field. A **filter** is one text of selectors
joined by commas; all of them must hold. Of several filters one must match. No filter, or an empty one, matches everything.

| Selector | Holds if |
| --- | --- |
| ``labels.env`` | the field is present |
| ``labels.env==prod`` | the field is present and equal |
| ``labels.env!=prod`` | the field is absent or different |
| ``labels.env~=^pr`` | the regular expression matches a part of the field; an absent field is the empty text |
| ``size>=1MiB`` | a size or time is less, greater or equal: ``<``, ``<=``, ``>``, ``>=``; an absent field never matches |

| Field of a blob | Holds |
| --- | --- |
| ``digest`` | text, for example ``sha256:9f86…`` |
| ``labels.KEY`` | text; a key with dots may be written as it is |
| ``size`` | bytes |
| ``created_at``, ``updated_at`` | times |

| Field of an ingest | Holds |
| --- | --- |
| ``ref`` | text |
| ``offset``, ``total`` | bytes; ``total`` is absent if it is unknown |
| ``expected`` | text; absent if it is unknown |
| ``started_at``, ``updated_at`` | times |

| Field of an image name | Holds |
| --- | --- |
| ``name``, ``digest``, ``media_type`` | text; the last two are those of its target |
| ``labels.KEY`` | text |
| ``size`` | bytes; absent if it is unknown |
| ``created_at``, ``updated_at`` | times |

| Field of a lease | Holds |
| --- | --- |
| ``id`` | text |
| ``labels.KEY`` | text |
| ``created_at``, ``expires_at`` | times; the second is absent if the lease does not end by itself |

Any other field is absent. These examples use one blob:

>>> from datetime import UTC, datetime
>>> from steelyard import Digest, Info, Labels
>>> noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
>>> labels = Labels({"env": "prod", "io.example/from": "a b", "version.major": "3"})
>>> blob = Info(digest=Digest("sha256", "ab" * 32), size=4096, created_at=noon, updated_at=noon, labels=labels)
>>> def matches(*filters):
...     return compile(*filters).matches(info_fields(blob))

>>> matches("labels.env==prod"), matches("labels.env==prod,size>1MiB"), matches("size>1MiB", "labels.env")
(True, False, True)
>>> matches("labels.version.major==3"), matches("labels.missing!=x"), matches("labels.missing~=.+")
(True, True, False)

**Fields** consist of letters, digits and ``_``. Quote other fields with double quotes, for example labels with ``/`` or
``-``. **Values** end at the next comma or space. Quote values that contain one, or that start with a quote, ``=``, ``!`` or
``~``. In quotes a backslash starts an escape of Go (``\n``, ``\t``, ``\\``, ``\"``, ``\x41``, ``\u00e9`` and so on). The
value of ``~=`` may also be enclosed in ``/`` or ``|``. Spaces are allowed before a field, an operator or a value only.

>>> matches('labels."io.example/from" == "a b"')
True

**Regular expressions** are not anchored and take linear time: RE2's syntax, without look-around and back-references.

>>> matches("digest~=^sha256:(ab){32}$"), matches("labels.env~=/^(prod|test), ?x/")
(True, False)

**Sizes** are in bytes, or in KiB, MiB, GiB or TiB. **Times** are RFC 3339, with ``Z`` or an offset, and are compared in
microseconds. ``==`` and ``!=`` compare sizes and times as numbers, not as text.

>>> matches("size==4KiB"), matches("created_at>=2026-01-31T13:00:00+01:00,created_at<2026-02-01T00:00:00Z")
(True, True)

An invalid filter raises `InvalidFilter` with the position and the reason, before anything is matched:

>>> compile("labels.env=prod")
Traceback (most recent call last):
steelyard.errors.InvalidFilter: filter 'labels.env=prod', position 10: no such operator: =

**Limits**: filters are untrusted input. A list has at most 1,000 filters and 32 KiB. A regular expression
has at most 2 KiB and 100 nested levels of groups, classes and repetitions. All regular expressions of a list take at most
4 MiB when they are compiled. (``\w`` and similar classes cover all of Unicode, so they take much memory;
``[0-9A-Za-z_]`` and ``(?-u:\w)`` take little.)

>>> compile(r"labels.env~=^\w{100}$")
Traceback (most recent call last):
steelyard.errors.InvalidFilter: filter 'labels.env~=^\\w{100}$', position 12: bad regular expression: all of a list take at most 4096 KiB when compiled, with this one they take more

Spec: containerd's ``pkg/filters``. There a regular expression that does not compile matches nothing, and a value cannot
start with a dot. Comparisons, and the fields for sizes and times, are additions of Steelyard.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, final

from steelyard._native import MAX_FILTERS
from steelyard._native import Filter as _NativeFilter
from steelyard.model import Image, Info, Lease, Status

__all__ = (
    "BLOB_FIELDS",
    "IMAGE_FIELDS",
    "INGEST_FIELDS",
    "LEASE_FIELDS",
    "MAX_FILTERS",
    "Fields",
    "Filter",
    "compile",
    "image_fields",
    "info_fields",
    "lease_fields",
    "status_fields",
)

BLOB_FIELDS = ("digest", "size", "created_at", "updated_at", "labels.KEY")
"""The fields of a blob."""

INGEST_FIELDS = ("ref", "offset", "total", "expected", "started_at", "updated_at")
"""The fields of an ingest."""

IMAGE_FIELDS = ("name", "digest", "media_type", "size", "created_at", "updated_at", "labels.KEY")
"""The fields of an image name."""

LEASE_FIELDS = ("id", "created_at", "expires_at", "labels.KEY")
"""The fields of a lease."""

Fields: TypeAlias = Callable[[tuple[str, ...]], str | int | None]
"""Looks up the field at a path: text, bytes, nanoseconds since the epoch for a time, or None if it is absent."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@final
class Filter:
    """A compiled list of filters, of which one must match; immutable.

    Compiling expensive regular expressions can take a second; the GIL is released meanwhile. In an event
    loop, compile on a thread, as the stores do.

    Args:
        texts: the filters; without any, everything matches.

    Raises:
        InvalidFilter: a filter does not parse, or the list exceeds a limit.
    """

    __slots__ = ("_native", "texts")

    def __init__(self, *texts: str) -> None:
        self._native = _NativeFilter(texts)
        self.texts: tuple[str, ...] = texts
        """The filters as they were given."""

    @property
    def native(self) -> _NativeFilter:
        """The filter as compiled by the native core, for stores that match there."""
        return self._native

    @property
    def paths(self) -> list[tuple[str, ...]]:
        """The fields of all selectors, in the order of the texts, with repetitions."""
        return self._native.paths

    def matches(self, fields: Fields) -> bool:
        """Return whether the object with these fields matches; see `info_fields` and `status_fields`.

        Raises:
            Any error of `fields`.
        """
        return self._native.matches(fields)

    def __repr__(self) -> str:
        return f"Filter({', '.join(map(repr, self.texts))})"


def compile(*texts: str) -> Filter:  # noqa: A001  # as in `re`
    """Return the compiled filters; see `Filter` for the cost.

    Args:
        texts: the filters; without any, everything matches.

    Raises:
        InvalidFilter: a filter does not parse, or the list exceeds a limit.
    """
    return Filter(*texts)


def info_fields(info: Info) -> Fields:
    """Return the fields of a blob."""

    def field(path: tuple[str, ...]) -> str | int | None:
        match path:
            case ("labels", _, *_):
                return info.labels.get(".".join(path[1:]))
            case ("digest",):
                return str(info.digest)
            case ("size",):
                return info.size
            case ("created_at",):
                return _nanoseconds(info.created_at)
            case ("updated_at",):
                return _nanoseconds(info.updated_at)
            case _:
                return None

    return field


def image_fields(image: Image) -> Fields:
    """Return the fields of an image name."""

    def field(path: tuple[str, ...]) -> str | int | None:
        match path:
            case ("labels", _, *_):
                return image.labels.get(".".join(path[1:]))
            case ("name",):
                return image.name
            case ("digest",):
                return str(image.target.digest)
            case ("media_type",):
                return image.target.media_type
            case ("size",):
                return image.target.size
            case ("created_at",):
                return _nanoseconds(image.created_at)
            case ("updated_at",):
                return _nanoseconds(image.updated_at)
            case _:
                return None

    return field


def lease_fields(lease: Lease) -> Fields:
    """Return the fields of a lease."""

    def field(path: tuple[str, ...]) -> str | int | None:
        match path:
            case ("labels", _, *_):
                return lease.labels.get(".".join(path[1:]))
            case ("id",):
                return lease.id
            case ("created_at",):
                return _nanoseconds(lease.created_at)
            case ("expires_at",):
                return None if lease.expires_at is None else _nanoseconds(lease.expires_at)
            case _:
                return None

    return field


def status_fields(status: Status) -> Fields:
    """Return the fields of an ingest."""

    def field(path: tuple[str, ...]) -> str | int | None:
        match path:
            case ("ref",):
                return status.ref
            case ("offset",):
                return status.offset
            case ("total",):
                return status.total
            case ("expected",):
                return None if status.expected is None else str(status.expected)
            case ("started_at",):
                return _nanoseconds(status.started_at)
            case ("updated_at",):
                return _nanoseconds(status.updated_at)
            case _:
                return None

    return field


def _nanoseconds(time: datetime) -> int:
    # Not `timestamp()`: a float does not hold microseconds exactly.
    return (time - _EPOCH) // _MICROSECOND * 1000
