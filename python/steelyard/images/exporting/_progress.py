"""Progress of an export: of each blob, named by its digest, and of the whole export, named by the target."""

from __future__ import annotations

import os

from anyio.abc import ByteSendStream

from steelyard.content import Store
from steelyard.images.documents import OCIDescriptor
from steelyard.images.layout import DirectoryLayout, LayoutDriver
from steelyard.model import OnProgress, Progress

__all__ = ("ExportProgress", "name_of")


class ExportProgress:
    """Adds up the bytes of all blobs that are done.

    Args:
        name: the name of the target in reports.
        total: bytes of all blobs.
        on_progress: called with each report.
    """

    def __init__(self, name: str, total: int, on_progress: OnProgress | None) -> None:
        self._name = name
        self._total = total
        self._done: dict[str, int] = {}
        self._sum = 0
        self._on_progress = on_progress
        self._report(name, 0, total)

    def report(self, descriptor: OCIDescriptor, done: int) -> None:
        """Report how many bytes of a blob are done; all of them if the target already has the blob."""
        before = self._done.get(descriptor.digest)
        if before is not None and before >= done:
            return
        self._done[descriptor.digest] = done
        self._sum += done - (before or 0)
        self._report(descriptor.digest, done, descriptor.size)
        self._report(self._name, self._sum, self._total)

    def _report(self, name: str, done: int, total: int) -> None:
        if self._on_progress is not None:
            self._on_progress(Progress(phase="write", name=name, done=done, total=total))


def name_of(target: str | os.PathLike[str] | ByteSendStream | LayoutDriver | Store) -> str:
    """Return the name of a target in reports."""
    if isinstance(target, str | os.PathLike):
        return os.fspath(target)
    if isinstance(target, DirectoryLayout):
        return str(target.path)
    return "stream" if isinstance(target, ByteSendStream) else "layout" if isinstance(target, LayoutDriver) else "store"
