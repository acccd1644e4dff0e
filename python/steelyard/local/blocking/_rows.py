"""Conversion of the native core's tuples to the values of `steelyard.model`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
from msgspec.structs import force_setattr

from steelyard.digest import _NEW, Digest, _to_digest
from steelyard.model import NO_LABELS, Descriptor, Image, Info, Labels, Status
from steelyard.options import check_size

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

InfoRow = tuple[str, str, int, int, int, dict[str, str]]
StatusRow = tuple[str, int, int | None, str | None, int, int]


to_digest = _to_digest


def to_time(ns: int) -> datetime:
    """Return nanoseconds since the epoch as a UTC time of whole microseconds, without a detour through floats."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


def to_labels(items: dict[str, str]) -> Labels:
    """Return the labels of a blob. They were checked when they were set. The result takes ownership of the dict."""
    if not items:
        return NO_LABELS
    labels = Labels.__new__(Labels)
    labels._items = items  # noqa: SLF001  # the same as in its `__init__`, without the checks
    return labels


def to_info(row: InfoRow) -> Info:
    """Return the info of a native row."""
    algorithm, encoded, size, created, updated, labels = row
    created_at = to_time(created)
    return Info(
        digest=to_digest(algorithm, encoded),
        size=size,
        created_at=created_at,
        updated_at=created_at if updated == created else to_time(updated),
        labels=to_labels(labels),
    )


_PAGE = msgspec.msgpack.Decoder(
    tuple[list[str], list[dict[str, str]], list[tuple[int, str, int, datetime, datetime | None, int]]]
)
"""The format of `rust/py/src/page.rs`."""


def to_infos(page: bytes) -> list[Info]:
    """Return the infos of a native page. A listing spends most of its time here, so equal values are made only once."""
    algorithms, sets, rows = _PAGE.decode(page)
    new_digests = [_NEW[algorithm] for algorithm in algorithms]
    labels = [to_labels(items) for items in sets]
    infos = []
    for algorithm, encoded, size, created, updated, place in rows:
        digest = new_digests[algorithm]()
        force_setattr(digest, "encoded", encoded)
        infos.append(
            Info(digest=digest, size=size, created_at=created, updated_at=updated or created, labels=labels[place])
        )
    return infos


def to_status(row: StatusRow) -> Status:
    """Return the status of a native row."""
    ref, offset, total, expected, started, updated = row
    return Status(
        ref=ref,
        offset=offset,
        total=total,
        expected=None if expected is None else Digest.parse(expected),
        started_at=to_time(started),
        updated_at=to_time(updated),
    )


TargetRow = tuple[str, int | None, str | None, dict[str, str]]
ImageRow = tuple[str, TargetRow, int, int, dict[str, str]]


def target_row(target: Descriptor) -> TargetRow:
    """Return the native row of a descriptor."""
    check_size(target.size)
    return str(target.digest), target.size, target.media_type, dict(Labels(target.annotations))


def to_image(row: ImageRow) -> Image:
    """Return the image name of a native row."""
    name, (digest, size, media_type, annotations), created, updated, labels = row
    target = Descriptor(digest=Digest.parse(digest), size=size, media_type=media_type, annotations=Labels(annotations))
    return Image(
        name=name, target=target, created_at=to_time(created), updated_at=to_time(updated), labels=Labels(labels)
    )
