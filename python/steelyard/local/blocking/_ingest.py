"""An open ingest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from steelyard import _native
from steelyard._runtime.buffers import view
from steelyard._runtime.fork import ProcessBound
from steelyard.digest import Algorithm, Digest
from steelyard.local.blocking._rows import to_digest, to_info, to_status
from steelyard.model import Buffer, Info, Labels, Status
from steelyard.options import CommitOptions, check_size

__all__ = ("BlockingIngest",)

_STEP = 8 << 20
"""The number of bytes that are read and hashed between two checks for a cancelled job; they take about 4 ms."""


class BlockingIngest(ProcessBound):
    """An open ingest; see `Writer`. One thread at a time may use it.

    `write` writes the bytes to the file before it returns. It does not use the write buffer of `LocalWriter`, which spares an
    event loop the waits: a thread that asks for the digest after each write would have to wait for the buffer each time.

    Attributes:
        native: the core's handle.

    Args:
        native: the core's handle.
        released: called once, with the ref, when the ref is free.
    """

    def __init__(self, native: _native.Ingest, released: Callable[[str], object]) -> None:
        self.native = native
        self._released = released
        self._closed = False

    @property
    def ref(self) -> str:
        """The caller's name of the ingest."""
        return self.native.ref

    @property
    def offset(self) -> int:
        """Bytes accepted so far."""
        return self.native.offset

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of `digest`."""
        return Algorithm(self.native.algorithm)

    @property
    def closed(self) -> bool:
        """Whether the ref is free again, by `commit` or `close`."""
        return self._closed

    def write(self, data: Buffer) -> None:
        """Append all of `data`."""
        with view(data) as octets:
            self.native.write(octets)

    def catch_up(self, job: _native.Job) -> bool:
        """Hash the bytes of earlier writers that no saved hash state covers; return False if the job was cancelled."""
        while self.native.catch_up(_STEP):
            if job.cancelled:
                return False
        return True

    def digest(self) -> Digest:
        """Return the digest of the bytes accepted so far."""
        return to_digest(*self.native.digest())

    def status(self) -> Status:
        """Return the ingest's status."""
        return to_status(self.native.status())

    def truncate(self, size: int) -> None:
        """Truncate the ingest to its first `size` bytes."""
        check_size(size)
        self.native.truncate(size)

    def sync(self) -> None:
        """Make the bytes accepted so far, and the hash state at their end, durable."""
        self.native.sync()

    def commit(
        self,
        size: int | None = None,
        expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Info:
        """Publish the ingest, and close it whatever happens; see `Writer.commit`."""
        try:
            check_size(size)
            kept = None if labels is None else dict(Labels(labels))
            self._choose_algorithm(expected)
            return to_info(self.native.commit(size, None if expected is None else str(expected), kept))
        finally:
            self.close()

    def commit_in_steps(self, job: _native.Job, options: CommitOptions) -> Info | None:
        """Do the same as `commit`. If the job is cancelled before all bytes are hashed, return None; the ingest stays open."""
        try:
            is_ready = not job.cancelled and self._prepare(job, options)
        except BaseException:
            self.close()
            raise
        return self.commit(options.size, options.expected, options.labels) if is_ready else None

    def seal_in_steps(self, job: _native.Job, options: CommitOptions) -> tuple[Digest, int, str] | None:
        """Check size and digest and make the bytes durable, without publishing them; None if the job is cancelled first.

        Returns:
            The digest, the size, and a path by which this process can read the bytes while the ingest is open.
        """
        if job.cancelled or not self._prepare(job, options):
            return None
        expected = None if options.expected is None else str(options.expected)
        digest, size, path = self.native.seal(options.size, expected)
        return to_digest(*digest), size, str(path)

    def _prepare(self, job: _native.Job, options: CommitOptions) -> bool:
        """Do the slow steps of a commit; return False if the job was cancelled."""
        self._choose_algorithm(options.expected)
        if not self.catch_up(job):
            return False
        while options.verify and self.native.recheck(_STEP) > 0:
            if job.cancelled:
                return False
        return True

    def _choose_algorithm(self, expected: Digest | None) -> None:
        if expected is not None and expected.algorithm != self.algorithm:
            self.native.set_algorithm(expected.algorithm.value)

    def close(self) -> None:
        """Make the bytes durable, keep the ingest for a resume, and free the ref; may be called twice."""
        try:
            self.native.close()
        finally:
            if not self._closed:
                self._closed = True
                self._released(self.ref)
