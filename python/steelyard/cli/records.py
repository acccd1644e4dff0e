"""The documented shapes of ``--format json`` and ``jsonl``.

Every record has a ``type``. Sizes and offsets are integers in bytes, times are RFC 3339 in UTC and end in ``Z``, what is
not known is null. Fields may be added in later releases; none is renamed or removed. `docs/cli.md` lists them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from steelyard.model import Info, Status

__all__ = (
    "AbortedRecord",
    "BlobRecord",
    "ErrorRecord",
    "FetchedRecord",
    "IngestGoneRecord",
    "IngestRecord",
    "PutRecord",
    "Record",
    "RemovedRecord",
    "VerifiedRecord",
    "encode",
    "summary",
)


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """One thing that a command reports on stdout."""


class PutRecord(Record, frozen=True, tag="put"):
    """One source that is stored now."""

    path: str
    digest: str
    size: int
    new: bool


class FetchedRecord(Record, frozen=True, tag="fetched"):
    """One blob, or a range of one, that was written to a file."""

    digest: str
    path: str
    offset: int
    size: int
    verified: bool


class BlobRecord(Record, frozen=True, tag="blob"):
    """What is known of one blob."""

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
    """One blob that was deleted, or would be."""

    digest: str
    size: int
    dry_run: bool


class IngestRecord(Record, frozen=True, tag="ingest"):
    """What is known of one ingest."""

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
    """An ingest that was committed or aborted while `ingests --watch` looked on."""

    ref: str


class AbortedRecord(Record, frozen=True, tag="aborted"):
    """One ingest that was discarded, or would be."""

    ref: str
    offset: int
    dry_run: bool


class VerifiedRecord(Record, frozen=True, tag="verified"):
    """One blob that was read again; `found` says what was there instead if it is not `ok`."""

    digest: str
    size: int
    ok: bool
    found: str | None = None


class ErrorRecord(Record, frozen=True, tag="error"):
    """One thing that failed; `code` is a stable word, `next` a command that helps, or null."""

    code: str
    message: str
    next: str | None
    exit_code: int


def summary(command: str, *, failed: int, counts: dict[str, int]) -> dict[str, Any]:
    """Return the result of a whole command: its last line in JSON Lines.

    The counts differ from command to command; `failed` is in each, and is the number of error records.
    """
    return {"type": "summary", "command": command, **counts, "failed": failed}


def encode(record: msgspec.Struct | dict[str, Any]) -> bytes:
    """Return a record as one line of JSON, without the newline."""
    return msgspec.json.encode(record)
