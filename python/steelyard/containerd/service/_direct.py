"""What a store can do on any thread, without an event loop: for servers that have threads of their own.

The calls are those of `steelyard.content`, with the same meanings and errors, but they block. A store that can do this
has a method `direct`; `steelyard.containerd.service` takes it where it is there and saves each call a trip through the
event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from steelyard.digest import Algorithm, Digest
from steelyard.model import Buffer, Descriptor, Image, Info, Labels, Status

__all__ = ("Direct", "DirectBlob", "DirectIngest", "DirectNames", "DirectStore")


class DirectBlob(Protocol):
    """An open blob; see `ReaderAt`."""

    @property
    def size(self) -> int:
        """The blob's length in bytes."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Read a range, unverified; see `ReaderAt.read_at`."""
        ...

    def close(self) -> None:
        """Release the blob."""
        ...


class DirectIngest(Protocol):
    """An open ingest; see `Writer`. One thread at a time may use it."""

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        ...

    def write(self, data: Buffer) -> None:
        """Append all of `data`."""
        ...

    def digest(self) -> Digest:
        """Return the digest of the bytes accepted so far."""
        ...

    def status(self) -> Status:
        """Return the ingest's status."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the ingest to its first `size` bytes."""
        ...

    def commit(self, size: int | None, expected: Digest | None, labels: Labels | None) -> Info:
        """Publish the ingest, and close it whatever happens; see `Writer.commit`."""
        ...

    def close(self) -> None:
        """Make the bytes durable, keep the ingest for a resume, and free the ref; may be called twice."""
        ...


class DirectNames(Protocol):
    """Image names; see `ImageNames`."""

    def get(self, name: str) -> Image:
        """Return what is known of a name."""
        ...

    def list(self, *filters: str) -> list[Image]:
        """Return the matching names."""
        ...

    def create(self, name: str, target: Descriptor, labels: Labels) -> Image:
        """Make a name."""
        ...

    def update(self, image: Image, *fieldpaths: str, expected: Digest | None = None) -> Image:
        """Change what a name holds, or its labels."""
        ...

    def delete(self, name: str, *, expected: Digest | None = None) -> None:
        """Remove a name."""
        ...


class DirectStore(Protocol):
    """A store; see `Store`. Any thread may use it."""

    @property
    def images(self) -> DirectNames:
        """The image names."""
        ...

    def info(self, digest: Digest) -> Info:
        """Return what is known of a blob."""
        ...

    def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels."""
        ...

    def pages(self, *filters: str) -> Iterator[list[Info]]:
        """Iterate over the matching blobs in the order of their digests, some at a time; see `Manager.walk`."""
        ...

    def delete(self, digest: Digest) -> None:
        """Delete a blob."""
        ...

    def blob(self, digest: Digest) -> DirectBlob:
        """Open a blob for reading."""
        ...

    def ingest(
        self, ref: str, *, size: int | None, expected: Digest | None, algorithm: Algorithm | None
    ) -> DirectIngest:
        """Begin or resume an ingest; see `Ingester.writer`."""
        ...

    def status(self, ref: str) -> Status:
        """Return what is known of an ingest."""
        ...

    def statuses(self, *filters: str) -> list[Status]:
        """Return the matching ingests."""
        ...

    def abort(self, ref: str) -> None:
        """Discard an ingest."""
        ...


@runtime_checkable
class Direct(Protocol):
    """A store that has this face too."""

    def direct(self) -> DirectStore:
        """Return the store for threads. Called in the store's event loop, while it is open."""
        ...
