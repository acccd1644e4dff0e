"""The result of an import, and its progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from steelyard.content import OnProgress
from steelyard.digest import Digest
from steelyard.images.importing._account import Account, BlobStatus, ImportedBlob
from steelyard.model import Descriptor, Progress

__all__ = ("Imported", "ImportedImage", "Ledger")


class ImportedImage(msgspec.Struct, frozen=True, kw_only=True):
    """A selected image of the source.

    Attributes:
        target: its root.
        names: the names that were set; empty if neither the source nor the caller gave one.
        absent: the blobs that it needs and that are not stored: non-distributable layers, and any blob with
            ``skip_missing``.
    """

    target: Descriptor
    names: tuple[str, ...]
    absent: tuple[str, ...] = ()


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The result of an import.

    Attributes:
        images: the selected images, in the order of the source.
        blobs: every blob of the source, sorted by digest. They are packed, and each is unpacked on access.
        index: the name of the source's own index, if one was requested.
        new_bytes: bytes of the blobs that were stored.
        seconds: the time of the import, in seconds.
    """

    images: tuple[ImportedImage, ...]
    blobs: Sequence[ImportedBlob]
    index: str | None
    new_bytes: int
    seconds: float

    @property
    def names(self) -> tuple[str, ...]:
        """All names that were set."""
        found = [name for image in self.images for name in image.names]
        return tuple(found if self.index is None else [*found, self.index])


class Ledger:
    """Collects the results of all blobs, and reports progress of the source (``read``) and of each blob.

    Args:
        name: the name of the source in reports.
        on_progress: called with each report.

    Attributes:
        total: the bytes to be processed, or None if unknown.
        account: the results so far.
    """

    def __init__(self, name: str, on_progress: OnProgress | None) -> None:
        self.total: int | None = None
        self.account = Account()
        self._name = name
        self._on_progress = on_progress
        self._done = 0

    def settle(self, digest: Digest, size: int, status: BlobStatus, seconds: float = 0.0) -> None:
        """Add the result for a blob. If a blob has several results, the first one counts."""
        self.account.add(digest, size, status, seconds)
        if self._on_progress is not None:
            self._on_progress(Progress(phase="commit", name=str(digest), done=size, total=size))

    def wait(self, name: str, size: int) -> None:
        """Report that this import waits for another import of the blob."""
        if self._on_progress is not None:
            self._on_progress(Progress(phase="wait", name=name, done=0, total=size))

    def advance(self, count: int) -> None:
        """Report that `count` more bytes of the source are done."""
        self._done += count
        if self._on_progress is not None:
            self._on_progress(Progress(phase="read", name=self._name, done=self._done, total=self.total))

    def follow(self, name: str, size: int, *, counts: bool) -> Callable[[Progress], None] | None:
        """Return the callback for the reports of one blob; with `counts` its bytes also count in the progress of the whole import."""
        on_progress = self._on_progress
        if on_progress is None:
            return None
        seen = 0

        def update(report: Progress) -> None:
            nonlocal seen
            if report.phase != "write":
                return
            on_progress(Progress(phase="write", name=name, done=report.done, total=size))
            if counts and report.done != seen:
                self.advance(report.done - seen)
                seen = report.done

        return update
