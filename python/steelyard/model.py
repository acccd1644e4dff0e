"""The values that the interfaces exchange: frozen, slotted and hashable."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec

from steelyard.digest import Algorithm, Digest
from steelyard.errors import DataCorrupt, InvalidArgument, InvalidLabel

if sys.version_info >= (3, 12):
    from collections.abc import Buffer
else:
    from typing_extensions import Buffer

__all__ = (
    "LABEL_LIMIT",
    "Blobs",
    "Buffer",
    "DeleteManyResult",
    "Descriptor",
    "FileRange",
    "Image",
    "Info",
    "Labels",
    "Lease",
    "LeaseResources",
    "OnProgress",
    "Progress",
    "PutManyResult",
    "PutResult",
    "Source",
    "Sources",
    "Status",
    "UpdateManyResult",
    "Verified",
)

LABEL_LIMIT = 4096
"""The most bytes that a label's key and value may have together, in UTF-8 (containerd's limit)."""


class Labels(Mapping[str, str]):
    """An immutable mapping of label keys to values, equal to any mapping with the same items, hashable.

    Raises:
        InvalidLabel: a key is empty, or a key and its value are over `LABEL_LIMIT` bytes.
        InvalidArgument: a key or value has a lone surrogate, so it is not Unicode text.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | None = None) -> None:
        self._items = dict(items) if items else {}
        for key, value in self._items.items():
            try:
                size = len(key.encode()) + len(value.encode())
            except UnicodeEncodeError as error:
                raise InvalidArgument(f"label {key[:100]!r}: not Unicode text: {error.reason}") from None
            if not key or size > LABEL_LIMIT:
                raise InvalidLabel(key, size=size, allowed=LABEL_LIMIT)

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"Labels({self._items!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Labels, (self._items,)


NO_LABELS = Labels()


class Info(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Size, times and labels of a stored blob.

    Attributes:
        digest: its name.
        size: its length in bytes.
        created_at: when it was committed (UTC).
        updated_at: when its labels were last set (UTC); reading does not change it.
        labels: its labels; only they can change, and `updated_at` with them.
    """

    digest: Digest
    size: int
    created_at: datetime
    updated_at: datetime
    labels: Labels = NO_LABELS


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an ingest.

    Attributes:
        ref: the caller's name of the ingest.
        offset: bytes held; after a crash, the bytes that survived it.
        total: the size the caller announced, or None.
        expected: the digest the caller announced, or None.
        started_at: when it was started (UTC).
        updated_at: when bytes were last added or removed (UTC).
    """

    ref: str
    offset: int
    total: int | None
    expected: Digest | None
    started_at: datetime
    updated_at: datetime


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """A reference to a blob.

    Attributes:
        digest: the blob's name.
        size: its length in bytes, or None if it is unknown.
        media_type: the media type of the bytes, or None.
        annotations: further facts about the blob.
    """

    digest: Digest
    size: int | None = None
    media_type: str | None = None
    annotations: Labels = NO_LABELS

    @classmethod
    def of(cls, blob: Descriptor | Digest | str) -> Descriptor:
        """Return a blob's descriptor: the given one, or one with the given digest alone.

        Raises:
            InvalidDigest: the text is not a digest.
        """
        return blob if isinstance(blob, Descriptor) else Descriptor(digest=Digest.parse(blob))

    def check_size(self, actual: int) -> None:
        """Check the size of a stored blob, unless the descriptor has none.

        Raises:
            DataCorrupt: the descriptor has another size.
        """
        if self.size is not None and self.size != actual:
            raise DataCorrupt(self.digest, expected=f"{self.size} bytes", actual=f"{actual} bytes")


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image name with its target, times and labels.

    Attributes:
        name: the name, for example ``docker.io/library/alpine:3.20``.
        target: the descriptor that the name holds; its blob may be stored or not.
        created_at: when the name was made (UTC).
        updated_at: when its target or its labels were last set (UTC).
        labels: the labels of the name, not of the blob.
    """

    name: str
    target: Descriptor
    created_at: datetime
    updated_at: datetime
    labels: Labels = NO_LABELS


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A lease; see `steelyard.leases`.

    Attributes:
        id: its ID: any text.
        created_at: when it was created (UTC).
        expires_at: the time at which it ends by itself (UTC), or None if it does not.
        process: the ID of the process with which it ends, or None if it outlives its process.
        labels: its labels.
    """

    id: str
    created_at: datetime
    expires_at: datetime | None = None
    process: int | None = None
    labels: Labels = NO_LABELS


class LeaseResources(msgspec.Struct, frozen=True, kw_only=True):
    """The resources that a lease protects.

    Attributes:
        blobs: the digests of blobs, stored or not, in order.
        refs: the refs of ingests, in order.
    """

    blobs: tuple[Digest, ...] = ()
    refs: tuple[str, ...] = ()


class PutResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The result of `put`.

    Attributes:
        digest: the blob's name.
        size: its length in bytes.
        new: whether this call stored the blob; False if it was already stored.
    """

    digest: Digest
    size: int
    new: bool


class PutManyResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `put_many` for one source.

    Attributes:
        index: the source's place among the sources, from 0.
        source: the source itself.
        outcome: the stored blob, or the error of a failed source.
    """

    index: int
    source: Any
    outcome: PutResult | Exception

    @property
    def result(self) -> PutResult:
        """The stored blob. If the source failed, this raises its error."""
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    @property
    def error(self) -> Exception | None:
        """The error of a failed source, or None."""
        return self.outcome if isinstance(self.outcome, Exception) else None


class UpdateManyResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `update_many` for one blob.

    Attributes:
        index: the blob's place among the blobs, from 0.
        blob: the blob as it was given.
        outcome: its new `Info`, or its error if it was not changed.
    """

    index: int
    blob: Any
    outcome: Info | Exception

    @property
    def result(self) -> Info:
        """The new `Info`. If the blob was not changed, this raises its error."""
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    @property
    def error(self) -> Exception | None:
        """The error, or None."""
        return self.outcome if isinstance(self.outcome, Exception) else None


class DeleteManyResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `delete_many` for one blob.

    Attributes:
        index: the blob's place among the blobs, from 0.
        blob: the blob as it was given.
        error: its error if it was not deleted, or None.
    """

    index: int
    blob: Any
    error: Exception | None = None


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """The result of verifying one of many blobs.

    Attributes:
        digest: the blob's name.
        size: its length in bytes.
        error: the error of a damaged blob, or None for an undamaged blob.
    """

    digest: Digest
    size: int
    error: DataCorrupt | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a long operation; the argument of ``on_progress`` callbacks.

    Attributes:
        phase: the current step; ``wait`` while another writer holds the ingest, reported once, after a second or two.
        name: the ref, digest or source.
        done: bytes done in this phase; blobs in phase ``mark`` of a collection.
        total: bytes to do in this phase, or None if unknown.
    """

    phase: Literal["wait", "hash", "write", "commit", "read", "verify", "mark", "remove"]
    name: str
    done: int
    total: int | None


DEFAULT_ALGORITHM = Algorithm.SHA256


class FileRange(msgspec.Struct, frozen=True, gc=False):
    """A part of a file as a source, for example one entry of an archive.

    Attributes:
        file: a descriptor that can be read at any offset. The caller owns it; its position is neither used nor changed.
        offset: the first byte.
        size: the number of bytes. A shorter file raises `OutOfRange` when it is read.
    """

    file: int
    offset: int
    size: int


Source = Buffer | str | Path | BinaryIO | FileRange | Iterable[Buffer] | AsyncIterable[Buffer]
"""The sources that `Store.put` accepts.

* a bytes-like object: one-dimensional, contiguous, one-byte items; it must not change during the call
* a `str` or `pathlib.Path`: the path of a file, never content: pass text as bytes, for example ``text.encode()``
* a binary file: read from its position to its end, on worker threads
* a `FileRange`: a part of a file
* an iterable or async iterable of bytes-like objects, for example an anyio byte stream
"""

Sources = Iterable[Source] | AsyncIterable[Source]
"""The sources that `Store.put_many` accepts."""

Blobs = Iterable[Info | Digest | str] | AsyncIterable[Info | Digest | str]
"""The blobs that `Store.update_many` and `Store.delete_many` accept: infos, as `Manager.walk` yields them, and digests."""

OnProgress = Callable[[Progress], object]
"""A callback in the event loop's thread: called at least once per phase, often for large blobs. It must not block."""
