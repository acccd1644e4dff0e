r"""The filter language: which blobs `Manager.walk` gives, which ingests `IngestManager.list_statuses` gives.

It is containerd's, with ordering added. A **selector** asks something of one field; a **filter** is one text of selectors
joined by commas, and all of them must hold; of several filters one must match. No filter at all, or an empty one,
matches everything.

| Selector | Holds when |
| --- | --- |
| ``labels.env`` | the field is present |
| ``labels.env==prod`` | it is present and equal |
| ``labels.env!=prod`` | it is absent or different |
| ``labels.env~=^pr`` | the regular expression is found in it; an absent field is the empty text |
| ``size>=1MiB`` | a size or time is less, greater or equal: ``<``, ``<=``, ``>``, ``>=``; an absent one is neither |

| Field of a blob | Holds |
| --- | --- |
| ``digest`` | text, for example ``sha256:9f86…`` |
| ``labels.KEY`` | text; a key with dots may be written as it is |
| ``size`` | bytes |
| ``created_at``, ``updated_at`` | times |

| Field of an ingest | Holds |
| --- | --- |
| ``ref`` | text |
| ``offset``, ``total`` | bytes; ``total`` is absent where it is unknown |
| ``expected`` | text; absent where it is unknown |
| ``started_at``, ``updated_at`` | times |

| Field of an image name | Holds |
| --- | --- |
| ``name``, ``digest``, ``media_type`` | text; the last two are those of what it holds |
| ``labels.KEY`` | text |
| ``size`` | bytes; absent where it is unknown |
| ``created_at``, ``updated_at`` | times |

Any other field is absent. Here is a blob to try them on:

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

**Fields** are letters, digits and ``_``; others stand in double quotes, labels with ``/`` or ``-`` among them. **Values**
run to the next comma or space; those with one, or that begin with a quote, ``=``, ``!`` or ``~``, stand in double quotes
too. In quotes a backslash begins one of Go's escapes (``\n``, ``\t``, ``\\``, ``\"``, ``\x41``, ``\u00e9`` and so on). The
value of ``~=`` may stand between ``/`` or ``|`` as well. Spaces may stand before a field, an operator or a value, and
nowhere else.

>>> matches('labels."io.example/from" == "a b"')
True

**Regular expressions** are not anchored and take linear time: RE2's syntax, without look-around and back-references.

>>> matches("digest~=^sha256:(ab){32}$"), matches("labels.env~=/^(prod|test), ?x/")
(True, False)

**Sizes** are bytes, or KiB, MiB, GiB, TiB of them; **times** are RFC 3339, with ``Z`` or an offset, and are compared in
microseconds. ``==`` and ``!=`` compare them as numbers, not as text.

>>> matches("size==4KiB"), matches("created_at>=2026-01-31T13:00:00+01:00,created_at<2026-02-01T00:00:00Z")
(True, True)

A text that is no filter raises `InvalidFilter` before anything is matched, with the position and the reason:

>>> compile("labels.env=prod")
Traceback (most recent call last):
steelyard.errors.InvalidFilter: filter 'labels.env=prod', position 10: no such operator: =

**Bounds**: filters come from outside, so a list of them has at most 1,000, of at most 32 KiB together; a regular expression
has at most 2 KiB and 100 levels of groups, classes and repetitions inside each other, and all of a list take at most 4 MiB
when they are compiled. (``\w`` and the like are dear, as they know all of Unicode: ``[0-9A-Za-z_]`` and ``(?-u:\w)`` are not.)

>>> compile(r"labels.env~=^\w{100}$")
Traceback (most recent call last):
steelyard.errors.InvalidFilter: filter 'labels.env~=^\\w{100}$', position 12: bad regular expression: all of a list take at most 4096 KiB when compiled, with this one they take more

Spec: containerd's ``pkg/filters``. There a regular expression that does not compile matches nothing, and a value cannot
begin with a dot. Ordering and the fields for sizes and times are Steelyard's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, final

from steelyard._native import MAX_FILTERS
from steelyard._native import Filter as _NativeFilter
from steelyard.model import Image, Info, Status

__all__ = (
    "BLOB_FIELDS",
    "IMAGE_FIELDS",
    "INGEST_FIELDS",
    "MAX_FILTERS",
    "Fields",
    "Filter",
    "compile",
    "image_fields",
    "info_fields",
    "status_fields",
)

BLOB_FIELDS = ("digest", "size", "created_at", "updated_at", "labels.KEY")
"""The fields of a blob."""

INGEST_FIELDS = ("ref", "offset", "total", "expected", "started_at", "updated_at")
"""The fields of an ingest."""

IMAGE_FIELDS = ("name", "digest", "media_type", "size", "created_at", "updated_at", "labels.KEY")
"""The fields of an image name."""

Fields: TypeAlias = Callable[[tuple[str, ...]], str | int | None]
"""Looks up the field at a path: text, bytes, nanoseconds since the epoch for a time, or None where it is absent."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@final
class Filter:
    """A compiled list of filters, of which one has to match; immutable.

    Compiling may take a second where regular expressions are made to be dear; the GIL is released meanwhile. In an event
    loop, call it on a thread, as the stores do.

    Args:
        texts: the filters; none match everything.

    Raises:
        InvalidFilter: one of them does not parse, or they are over a bound.
    """

    __slots__ = ("_native", "texts")

    def __init__(self, *texts: str) -> None:
        self._native = _NativeFilter(texts)
        self.texts = texts
        """The filters as they were given."""

    @property
    def native(self) -> _NativeFilter:
        """What the native core compiled, for stores that match there."""
        return self._native

    @property
    def paths(self) -> list[tuple[str, ...]]:
        """The fields that are asked for, in the order of the texts, however often each."""
        return self._native.paths

    def matches(self, fields: Fields) -> bool:
        """Return whether the thing with these fields matches; see `info_fields` and `status_fields`.

        Raises:
            Whatever `fields` raises.
        """
        return self._native.matches(fields)

    def __repr__(self) -> str:
        return f"Filter({', '.join(map(repr, self.texts))})"


def compile(*texts: str) -> Filter:  # noqa: A001  # as in `re`
    """Return the compiled filters; see `Filter` for what it costs.

    Args:
        texts: the filters; none match everything.

    Raises:
        InvalidFilter: one of them does not parse, or they are over a bound.
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
