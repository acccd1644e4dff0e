"""The values that the interfaces exchange: frozen, slotted, hashable, ordered where an order makes sense."""

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
    "Buffer",
    "Descriptor",
    "FileRange",
    "Image",
    "Info",
    "Labels",
    "OnProgress",
    "Progress",
    "PutManyResult",
    "PutResult",
    "Source",
    "Sources",
    "Status",
    "Verified",
)

LABEL_LIMIT = 4096
"""The most bytes that a label's key and value may have together, in UTF-8 (containerd's limit)."""


class Labels(Mapping[str, str]):
    """An immutable mapping of label keys to values, equal to any mapping with the same items, hashable.

    Raises:
        InvalidLabel: a key is empty, or a key and its value are over `LABEL_LIMIT` bytes.
        InvalidArgument: a lone surrogate, which is no Unicode text.
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
                raise InvalidLabel(key, size=size, limit=LABEL_LIMIT)

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
    """What the store knows of a blob.

    Attributes:
        digest: its name.
        size: its length in bytes.
        created_at: when it was committed (UTC).
        updated_at: when its labels were last set (UTC); reading never moves it.
        labels: its labels, the only part that can change.
    """

    digest: Digest
    size: int
    created_at: datetime
    updated_at: datetime
    labels: Labels = NO_LABELS


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of an ingest.

    Attributes:
        ref: the caller's name for it.
        offset: bytes held; after a crash, the bytes that survived it.
        total: the size the caller announced, or None.
        expected: the digest the caller announced, or None.
        started_at: when it was begun (UTC).
        updated_at: when bytes were last added or cut (UTC).
    """

    ref: str
    offset: int
    total: int | None
    expected: Digest | None
    started_at: datetime
    updated_at: datetime


class Descriptor(msgspec.Struct, frozen=True, kw_only=True):
    """A reference to a blob from elsewhere.

    Attributes:
        digest: the blob's name.
        size: its length in bytes, or None where it is unknown.
        media_type: what the bytes are, or None.
        annotations: anything else that was said of it.
    """

    digest: Digest
    size: int | None = None
    media_type: str | None = None
    annotations: Labels = NO_LABELS


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image name: what it holds, and what the store knows of it.

    Attributes:
        name: the name, for example ``docker.io/library/alpine:3.20``.
        target: what it holds; its blob may be stored or not.
        created_at: when the name was made (UTC).
        updated_at: when its target or its labels were last set (UTC).
        labels: the name's labels, which are not those of the blob.
    """

    name: str
    target: Descriptor
    created_at: datetime
    updated_at: datetime
    labels: Labels = NO_LABELS


class PutResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What `put` did.

    Attributes:
        digest: the blob's name.
        size: its length in bytes.
        new: whether this call stored it; False when it was there already.
    """

    digest: Digest
    size: int
    new: bool


class PutManyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What `put_many` did with one source: exactly one of `result` and `error` is set.

    Attributes:
        index: the source's place among the sources, from 0.
        source: the source itself.
        result: what was stored.
        error: why it was not.
    """

    index: int
    source: Any
    result: PutResult | None = None
    error: Exception | None = None


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What verifying one of many blobs found.

    Attributes:
        digest: the blob's name.
        size: its length in bytes, as far as that is known.
        error: the damage, or None for a whole blob.
    """

    digest: Digest
    size: int
    error: DataCorrupt | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a long operation has come; given to ``on_progress`` callbacks.

    Attributes:
        phase: what is happening now.
        name: the ref, digest or source it happens to.
        done: bytes done in this phase.
        total: bytes there are to do, or None where that is unknown.
    """

    phase: Literal["hash", "write", "commit", "read", "verify"]
    name: str
    done: int
    total: int | None


DEFAULT_ALGORITHM = Algorithm.SHA256


class FileRange(msgspec.Struct, frozen=True, gc=False):
    """A part of a file, as a source: one entry of an archive, for example.

    Attributes:
        file: a descriptor that can be read at any offset. It stays the caller's; its position is neither used nor changed.
        offset: the first byte.
        size: how many bytes. A file that ends before them raises `OutOfRange` when it is read.
    """

    file: int
    offset: int
    size: int


Source = Buffer | str | Path | BinaryIO | FileRange | Iterable[Buffer] | AsyncIterable[Buffer]
"""What `Store.put` reads from.

* a bytes-like object: one-dimensional, contiguous, one-byte items; it must not change during the call
* a `str` or `pathlib.Path`: the path of a file
* a binary file: read from where it stands to its end, on worker threads
* a `FileRange`: a part of a file
* an iterable or async iterable of bytes-like objects, an anyio byte stream among them
"""

Sources = Iterable[Source] | AsyncIterable[Source]
"""What `Store.put_many` reads from."""

OnProgress = Callable[[Progress], object]
"""Called in the event loop's thread, often for large blobs, at least once per phase. It must not block."""
