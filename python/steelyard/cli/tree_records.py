"""The records of commands on trees; see `records`."""

from __future__ import annotations

from typing import Literal

from steelyard.cli.records import Record
from steelyard.trees import Change, Entry

__all__ = ("ChangeRecord", "CheckedOutRecord", "EntryRecord", "TreeRecord")


class TreeRecord(Record, frozen=True, tag="tree"):
    """A directory that was stored as a tree."""

    name: str
    digest: str
    size: int | None
    media_type: str | None
    files: int
    links: int
    bytes: int
    read: int
    new: int
    skipped: list[str]
    changed: list[str]


class EntryRecord(Record, frozen=True, tag="entry"):
    """A file, a link or an empty directory of a tree."""

    path: str
    kind: Literal["file", "link", "directory"]
    digest: str | None
    size: int | None
    executable: bool
    target: str | None

    @classmethod
    def of(cls, entry: Entry) -> EntryRecord:
        """Return the record of an entry."""
        return cls(
            path=entry.path,
            kind=entry.kind,
            digest=None if entry.digest is None else str(entry.digest),
            size=entry.size,
            executable=entry.executable,
            target=entry.target,
        )


class ChangeRecord(Record, frozen=True, tag="change"):
    """An entry that differs between two trees; `before` or `after` is null where it is missing."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: EntryRecord | None
    after: EntryRecord | None

    @classmethod
    def of(cls, change: Change) -> ChangeRecord:
        """Return the record of a change."""
        before, after = (None if each is None else EntryRecord.of(each) for each in (change.before, change.after))
        return cls(path=change.path, change=change.kind, before=before, after=after)


class CheckedOutRecord(Record, frozen=True, tag="checked_out"):
    """A tree that was written into a directory."""

    name: str
    digest: str
    path: str
    files: int
    bytes: int
    written: int
    removed: int
    path_hex: str | None = None
