"""The interface of a writer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from anyio.abc import ByteSendStream

from steelyard.digest import Digest
from steelyard.model import Buffer, Info, Status
from steelyard.options import CommitOptions

__all__ = ("Writer",)


class Writer(ByteSendStream):
    """An open ingest: write bytes, then `commit`. An anyio byte stream and an async context manager.

    Leaving the context without `commit` **keeps** the ingest: its bytes are made durable, and the next writer of the same ref
    resumes it. After `commit` or `aclose`, every call but `aclose` raises WriterClosed. After `IngestManager.abort` of
    its ref, or if another process took the ref, calls raise Aborted. After a failed write or sync, this writer never commits
    the ingest: it raises StorageError until it is closed, and the next writer resumes at the last durable offset.

    One task at a time may use a writer.
    """

    @property
    @abstractmethod
    def ref(self) -> str:
        """The caller's name of the ingest."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """Bytes accepted so far, including those of earlier writers: the position at which the source must continue."""

    @abstractmethod
    async def write(self, data: Buffer) -> None:
        """Append all of `data`.

        On return `offset` includes the bytes. They are durable only after `sync`, `aclose` or `commit`. If the disk fails, a later
        call may raise the error.

        Args:
            data: one-dimensional and contiguous, with items of one byte; may be empty. A mutable buffer is copied or
                written before the call returns; a `bytes` object may be kept by reference until it is written.

        Raises:
            WriterClosed, Aborted, StorageError.

        Cancellation:
            Up to 8 MiB are accepted completely or not at all; of longer data a prefix may be accepted. `offset` says how much.
        """

    async def send(self, item: Buffer) -> None:
        """Append all of `item`: the name of `write` in anyio's streams."""
        await self.write(item)

    @abstractmethod
    async def digest(self) -> Digest:
        """Return the digest of the bytes accepted so far; without any bytes, that of the empty string."""

    @abstractmethod
    async def status(self) -> Status:
        """Return the status of this ingest, as `IngestManager.status` does."""

    @abstractmethod
    async def truncate(self, size: int) -> None:
        """Truncate the ingest to its first `size` bytes; the next write appends there.

        Raises OutOfRange if the ingest is shorter than `size`, and InvalidArgument if `size` is negative.
        """

    @abstractmethod
    async def sync(self) -> None:
        """Make all bytes accepted so far survive a power loss; a resume starts after them."""

    async def commit(
        self,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        labels: Mapping[str, str] | None = None,
        verify: bool = False,
    ) -> Info:
        """Publish the ingest under its digest. The writer is closed in any case.

        On return the blob, its name and its labels survive a power loss, and the ref is free. The blob is never visible
        incomplete, writable or without its labels.

        Args:
            size: the size that the ingest must have.
            expected: the digest that it must have. For another algorithm, the bytes are read again to compute it.
            labels: the blob's labels.
            verify: read all bytes again and compare them before they are published. Otherwise a resume trusts the bytes
                before its checkpoint.

        Raises:
            DataCorrupt: `verify` found other bytes; the ingest does not change until `abort`. Unsupported: the store cannot `verify`.
            UnexpectedSize, UnexpectedDigest: the size or digest differs; **the ingest keeps its bytes** for another try.
            AlreadyExists: the blob is already stored, and the ingest is removed. A damaged stored copy is replaced.
            InvalidLabel: the ingest keeps its bytes.
            WriterClosed, Aborted, FailedPrecondition, StorageError.

        Cancellation:
            If publishing has started, it is finished first, so the blob may be stored after a cancelled call.
            Otherwise the ingest keeps its bytes.

        Spec: containerd's content.Writer.Commit.
        """
        try:
            options = CommitOptions.parse(size=size, expected=expected, labels=labels, verify=verify)
        except BaseException:
            await self.aclose()
            raise
        return await self._commit(options)

    @abstractmethod
    async def _commit(self, options: CommitOptions) -> Info:
        """Publish the ingest, and close the writer whatever happens: the hook of `commit`, called with parsed arguments."""

    @abstractmethod
    async def aclose(self) -> None:
        """Make the bytes accepted so far durable, keep the ingest, and free the ref. A second call does nothing."""
