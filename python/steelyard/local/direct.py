"""A `LocalStore` for threads: the native calls as they are, which block and release the GIL. See `steelyard.containerd.service._direct`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from steelyard import _native, filters
from steelyard._runtime.buffers import view
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Algorithm, Digest
from steelyard.local._rows import label_keys, open_ingest, to_digest, to_info, to_infos, to_status
from steelyard.local.names import descriptor_row, to_image
from steelyard.model import Buffer, Descriptor, Image, Info, Labels, Status
from steelyard.names import check_name, split_fieldpaths
from steelyard.options import IngestOptions, check_ref, check_size

__all__ = ("LocalDirect",)


class LocalDirect(ProcessBound):
    """A `LocalStore`, without its event loop.

    Args:
        core: gives the native store, or refuses to when it is not open.
        released: told of every ref that was freed, so that tasks which wait for it are woken.
    """

    def __init__(self, core: Callable[[], _native.Store], released: Callable[[str], object]) -> None:
        self._core = core
        self._released = released

    @property
    def images(self) -> _Names:
        """The image names."""
        return _Names(self._core().images())

    def info(self, digest: Digest) -> Info:
        """Return what is known of a blob."""
        return to_info(self._core().info(str(digest)))

    def update(self, info: Info, *fieldpaths: str) -> Info:
        """Set a blob's labels."""
        return to_info(self._core().update(str(info.digest), dict(Labels(info.labels)), label_keys(fieldpaths)))

    def pages(self, *filters_: str) -> Iterator[list[Info]]:
        """Iterate over the matching blobs in the order of their digests, a page at a time."""
        cursor = self._core().walk(filters.compile(*filters_).native)
        while page := cursor.next():
            yield to_infos(page)

    def delete(self, digest: Digest) -> None:
        """Delete a blob."""
        self._core().delete(str(digest))

    def blob(self, digest: Digest) -> _Blob:
        """Open a blob for reading."""
        return _Blob(self._core().blob(str(digest)))

    def ingest(self, ref: str, *, size: int | None, expected: Digest | None, algorithm: Algorithm | None) -> _Ingest:
        """Begin or resume an ingest."""
        options = IngestOptions.parse(ref, size=size, expected=expected, algorithm=algorithm)
        return _Ingest(open_ingest(self._core(), options), self._released)

    def status(self, ref: str) -> Status:
        """Return what is known of an ingest."""
        return to_status(self._core().status(check_ref(ref)))

    def statuses(self, *filters_: str) -> list[Status]:
        """Return the matching ingests."""
        return [to_status(row) for row in self._core().statuses(filters.compile(*filters_).native)]

    def abort(self, ref: str) -> None:
        """Discard an ingest."""
        self._core().abort(check_ref(ref))
        self._released(ref)


class _Blob(ProcessBound):
    """An open blob."""

    def __init__(self, native: _native.Blob) -> None:
        self._native = native

    @property
    def size(self) -> int:
        return self._native.size

    def read_at(self, offset: int, size: int) -> bytes:
        return self._native.read_at(offset, size, _native.Job())

    def close(self) -> None:
        self._native.close()


class _Ingest(ProcessBound):
    """An open ingest. What it is given is written before the call returns: the ring behind a `LocalWriter` is there to
    spare an event loop its waits, and whoever asks for a digest after each write would wait for it at once.
    """

    def __init__(self, native: _native.Ingest, released: Callable[[str], object]) -> None:
        self._native = native
        self._released = released
        self._open = True

    @property
    def offset(self) -> int:
        return self._native.offset

    def write(self, data: Buffer) -> None:
        with view(data) as octets:
            self._native.write(octets)

    def digest(self) -> Digest:
        return to_digest(*self._native.digest())

    def status(self) -> Status:
        return to_status(self._native.status())

    def truncate(self, size: int) -> None:
        check_size(size)
        self._native.truncate(size)

    def commit(self, size: int | None, expected: Digest | None, labels: Labels | None) -> Info:
        try:
            check_size(size)
            if expected is not None and expected.algorithm != self._native.algorithm:
                self._native.set_algorithm(expected.algorithm.value)
            name = None if expected is None else str(expected)
            return to_info(self._native.commit(size, name, None if labels is None else dict(labels)))
        finally:
            self.close()

    def close(self) -> None:
        try:
            self._native.close()
        finally:
            if self._open:
                self._open = False
                self._released(self._native.ref)


class _Names(ProcessBound):
    """The image names."""

    def __init__(self, native: _native.Images) -> None:
        self._native = native

    def get(self, name: str) -> Image:
        return to_image(self._native.get(check_name(name)))

    def list(self, *filters_: str) -> list[Image]:
        return [to_image(row) for row in self._native.list(filters.compile(*filters_).native)]

    def create(self, name: str, target: Descriptor, labels: Labels) -> Image:
        rows = [(check_name(name), descriptor_row(target))]
        return to_image(self._native.assign(rows, labels=dict(labels), taken="refuse")[0])

    def update(self, image: Image, *fieldpaths: str, expected: Digest | None = None) -> Image:
        target, everything, keys = split_fieldpaths(fieldpaths)
        row = self._native.update(
            check_name(image.name),
            target=descriptor_row(image.target) if target else None,
            labels=dict(Labels(image.labels)) if everything or keys else None,
            keys=None if everything else keys,
            expected=None if expected is None else str(expected),
        )
        return to_image(row)

    def delete(self, name: str, *, expected: Digest | None = None) -> None:
        self._native.delete(check_name(name), expected=None if expected is None else str(expected))
