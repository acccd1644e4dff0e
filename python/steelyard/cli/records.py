"""The documented records of ``--format json`` and ``jsonl``.

Every record has a ``type``. Sizes and offsets are integers in bytes, times are RFC 3339 in UTC and end in ``Z``, and unknown
values are null. Fields may be added in later releases; none is renamed or removed. `docs/cli.md` lists them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from steelyard.cli.printing import escaped_json, path_text
from steelyard.model import Image, Info, Lease, LeaseResources, Status

if TYPE_CHECKING:
    from steelyard.collection import Garbage, Reason
    from steelyard.images import Node

__all__ = (
    "AbortedRecord",
    "BlobRecord",
    "CheckedImageRecord",
    "CopiedRecord",
    "EndedLeaseRecord",
    "ErrorRecord",
    "ExportedBlobRecord",
    "ExportedImageRecord",
    "FetchedRecord",
    "GarbageRecord",
    "ImagePart",
    "ImageRecord",
    "ImageUsageRecord",
    "ImportedBlobRecord",
    "ImportedImageRecord",
    "IngestGoneRecord",
    "IngestRecord",
    "InspectedRecord",
    "LeaseRecord",
    "PutRecord",
    "ReasonRecord",
    "Record",
    "RemovedImageRecord",
    "RemovedRecord",
    "VerifiedRecord",
    "WarningRecord",
    "encode",
    "summary",
)


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """A record that a command prints on standard output."""


class PutRecord(Record, frozen=True, tag="put"):
    """A stored source."""

    path: str
    digest: str
    size: int
    new: bool
    path_hex: str | None = None


class FetchedRecord(Record, frozen=True, tag="fetched"):
    """A blob, or a range of it, that was written to a file."""

    digest: str
    path: str
    offset: int
    size: int
    verified: bool
    path_hex: str | None = None


class CopiedRecord(Record, frozen=True, tag="copied"):
    """A blob that was copied, or that the target already had."""

    digest: str
    size: int
    new: bool


class BlobRecord(Record, frozen=True, tag="blob"):
    """Size, times and labels of a blob."""

    digest: str
    size: int
    created_at: datetime
    updated_at: datetime
    labels: dict[str, str]

    @classmethod
    def of(cls, info: Info) -> BlobRecord:
        """Return the record of a blob."""
        return cls(
            digest=str(info.digest),
            size=info.size,
            created_at=info.created_at,
            updated_at=info.updated_at,
            labels=dict(info.labels),
        )


class RemovedRecord(Record, frozen=True, tag="removed"):
    """A blob that was deleted, or would be deleted."""

    digest: str
    size: int
    dry_run: bool


class GarbageRecord(Record, frozen=True, tag="garbage"):
    """A blob that nothing keeps, and whether it was removed, would be removed, or stays for now."""

    digest: str
    size: int
    since: datetime | None
    goes: bool
    dry_run: bool

    @classmethod
    def of(cls, garbage: Garbage, *, dry_run: bool) -> GarbageRecord:
        """Return the record of garbage."""
        return cls(
            digest=str(garbage.digest), size=garbage.size, since=garbage.since, goes=garbage.goes, dry_run=dry_run
        )


class WarningRecord(Record, frozen=True, tag="warning"):
    """Something that a collection ignored: a malformed document or reference."""

    message: str


class ReasonRecord(Record, frozen=True, tag="reason"):
    """The reason why a blob is kept, or since when it is garbage; without a root, `kind` is null."""

    digest: str
    kind: str | None
    name: str | None
    until: datetime | None
    chain: list[str]
    since: datetime | None

    @classmethod
    def of(cls, reason: Reason) -> ReasonRecord:
        """Return the record of a reason."""
        root = reason.root
        return cls(
            digest=str(reason.digest),
            kind=None if root is None else root.kind,
            name=None if root is None else root.name,
            until=None if root is None else root.until,
            chain=[str(digest) for digest in reason.chain],
            since=reason.since,
        )


class LeaseRecord(Record, frozen=True, tag="lease"):
    """A lease and what it protects."""

    id: str
    created_at: datetime
    expires_at: datetime | None
    process: int | None
    labels: dict[str, str]
    blobs: list[str]
    refs: list[str]

    @classmethod
    def of(cls, lease: Lease, resources: LeaseResources) -> LeaseRecord:
        """Return the record of a lease."""
        return cls(
            id=lease.id,
            created_at=lease.created_at,
            expires_at=lease.expires_at,
            process=lease.process,
            labels=dict(lease.labels),
            blobs=[str(digest) for digest in resources.blobs],
            refs=list(resources.refs),
        )


class EndedLeaseRecord(Record, frozen=True, tag="ended_lease"):
    """A lease that was ended."""

    id: str


class IngestRecord(Record, frozen=True, tag="ingest"):
    """The state of an ingest."""

    ref: str
    offset: int
    total: int | None
    expected: str | None
    started_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, status: Status) -> IngestRecord:
        """Return the record of an ingest."""
        return cls(
            ref=status.ref,
            offset=status.offset,
            total=status.total,
            expected=None if status.expected is None else str(status.expected),
            started_at=status.started_at,
            updated_at=status.updated_at,
        )


class IngestGoneRecord(Record, frozen=True, tag="ingest_gone"):
    """An ingest that was committed or aborted during `ingests --watch`."""

    ref: str


class AbortedRecord(Record, frozen=True, tag="aborted"):
    """An ingest that was discarded, or would be discarded."""

    ref: str
    offset: int
    dry_run: bool


class VerifiedRecord(Record, frozen=True, tag="verified"):
    """A blob that was read again; if it is not `ok`, `actual` is the digest of its bytes, or else what was found."""

    digest: str
    size: int
    ok: bool
    actual: str | None = None


class ImagePart(msgspec.Struct, frozen=True, kw_only=True):
    """A blob of an image, within a record."""

    digest: str
    size: int
    media_type: str
    platform: str | None
    parent: str | None
    depth: int
    present: bool

    @classmethod
    def of(cls, node: Node, *, present: bool) -> ImagePart:
        """Return the part of a node."""
        return cls(
            digest=node.descriptor.digest,
            size=node.descriptor.size,
            media_type=node.descriptor.media_type,
            platform=None if node.platform is None else str(node.platform),
            parent=None if node.parent is None else node.parent.digest,
            depth=node.depth,
            present=present,
        )


class ImageRecord(Record, frozen=True, tag="image"):
    """Target, times and labels of an image name."""

    name: str
    digest: str
    size: int | None
    media_type: str | None
    created_at: datetime
    updated_at: datetime
    labels: dict[str, str]

    @classmethod
    def of(cls, image: Image) -> ImageRecord:
        """Return the record of an image name."""
        return cls(
            name=image.name,
            digest=str(image.target.digest),
            size=image.target.size,
            media_type=image.target.media_type,
            created_at=image.created_at,
            updated_at=image.updated_at,
            labels=dict(image.labels),
        )


class InspectedRecord(Record, frozen=True, tag="inspected_image"):
    """An image with its blobs."""

    image: ImageRecord
    blobs: list[ImagePart]


class RemovedImageRecord(Record, frozen=True, tag="removed_image"):
    """An image name that was removed, or would be removed."""

    name: str
    digest: str
    dry_run: bool


class CheckedImageRecord(Record, frozen=True, tag="checked_image"):
    """Whether an image is complete, its absent blobs, and requested platforms without a manifest."""

    name: str
    digest: str
    complete: bool
    blobs: int
    size: int
    absent: list[ImagePart]
    unmatched: list[str]


class ImageUsageRecord(Record, frozen=True, tag="image_usage"):
    """The number and size of the blobs of an image."""

    name: str
    blobs: int
    size: int
    absent: int
    absent_size: int


class ExportedImageRecord(Record, frozen=True, tag="exported_image"):
    """An exported image; without a name if it was given by its digest."""

    name: str | None
    digest: str
    size: int
    media_type: str


class ExportedBlobRecord(Record, frozen=True, tag="exported_blob"):
    """A blob of an export, with its result."""

    digest: str
    size: int
    media_type: str
    status: str
    platform: str | None
    parent: str | None


class ImportedImageRecord(Record, frozen=True, tag="imported_image"):
    """An imported image with its names."""

    names: list[str]
    digest: str
    size: int | None
    media_type: str | None
    absent: list[str]


class ImportedBlobRecord(Record, frozen=True, tag="imported_blob"):
    """A blob of an import's source, with its result."""

    digest: str
    size: int
    status: str
    referenced: bool
    seconds: float


class ErrorRecord(Record, frozen=True, tag="error"):
    """A failure; `code` is a stable identifier, `next` a command that helps, or null."""

    code: str
    message: str
    next: str | None
    exit_code: int


def summary(command: str, *, failed: int, counts: dict[str, int]) -> dict[str, Any]:
    """Return the summary of a command: its last line in JSON Lines.

    Each command has its own counts. Every summary has `failed`, the number of error records.
    """
    return {"type": "summary", "command": command, **counts, "failed": failed}


def encode(record: msgspec.Struct | dict[str, Any]) -> bytes:
    """Return a record as one line of JSON, without the newline."""
    try:
        return escaped_json(msgspec.json.encode(record))
    except UnicodeEncodeError:  # a path with bytes that are not UTF-8
        return escaped_json(msgspec.json.encode(_clean(msgspec.to_builtins(record))))


def _clean(value: Any) -> Any:
    """Return a value for JSON whose texts may have bytes that are not UTF-8."""
    if isinstance(value, str):
        return path_text(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(part) for key, part in value.items()}
    return [_clean(part) for part in value] if isinstance(value, list) else value
