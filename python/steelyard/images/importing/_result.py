"""What an import tells: the result, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from steelyard.content import OnProgress
from steelyard.digest import Digest
from steelyard.images.importing._account import Account, BlobStatus, ImportedBlob
from steelyard.model import Descriptor, Progress

__all__ = ("Imported", "ImportedImage", "Ledger")


class ImportedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image of the source that was asked for.

    Attributes:
        target: its root.
        names: the names that hold it now; none if neither the source nor the caller gave one.
        absent: what it needs and the store has not: layers that their maker does not want passed on, and with
            ``skip_missing`` anything else.
    """

    target: Descriptor
    names: tuple[str, ...]
    absent: tuple[str, ...] = ()


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What an import brought.

    Attributes:
        images: the images that were asked for, in the order of the source.
        blobs: every blob of the source, in the order of their digests. They are packed, and each is made when it is asked for.
        index: the name that holds the source's own index, where one was asked for.
        bytes_new: bytes of blobs that were stored.
        seconds: how long it took.
    """

    images: tuple[ImportedImage, ...]
    blobs: Sequence[ImportedBlob]
    index: str | None
    bytes_new: int
    seconds: float

    @property
    def names(self) -> tuple[str, ...]:
        """All names that were set."""
        found = [name for image in self.images for name in image.names]
        return tuple(found if self.index is None else [*found, self.index])


class Ledger:
    """What became of every blob, and the two kinds of reports: of the source (``read``), and of each blob by its digest.

    Args:
        name: what reports call the whole.
        on_progress: who hears of it.

    Attributes:
        total: bytes there are to go through, or None where that is unknown.
        account: what became of the blobs met so far.
    """

    def __init__(self, name: str, on_progress: OnProgress | None) -> None:
        self.total: int | None = None
        self.account = Account()
        self._name = name
        self._on_progress = on_progress
        self._done = 0

    def settle(self, digest: Digest, size: int, status: BlobStatus, seconds: float = 0.0) -> None:
        """Say what became of a blob; what was said first of one that comes twice counts."""
        self.account.add(digest, size, status, seconds)
        self._report(Progress(phase="commit", name=str(digest), done=size, total=size))

    def advance(self, count: int) -> None:
        """Say that so many more bytes of the source are done."""
        self._done += count
        self._report(Progress(phase="read", name=self._name, done=self._done, total=self.total))

    def follow(self, name: str, size: int, *, counts: bool) -> Callable[[Progress], None] | None:
        """Return the callback for one blob's reports; with `counts` its bytes count in the whole."""
        if self._on_progress is None:
            return None
        seen = 0

        def update(report: Progress) -> None:
            nonlocal seen
            if report.phase != "write":
                return
            self._report(Progress(phase="write", name=name, done=report.done, total=size))
            if counts and report.done != seen:
                self.advance(report.done - seen)
                seen = report.done

        return update

    def _report(self, report: Progress) -> None:
        if self._on_progress is not None:
            self._on_progress(report)
