"""Copying bytes between files at given offsets, by the kernel where it can."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial

from anyio.lowlevel import checkpoint

from steelyard._native import Hasher, Job, start_writeback
from steelyard._runtime import calls
from steelyard._runtime.jobs import watched
from steelyard.errors import DataCorrupt, StorageError

__all__ = ("copy_hashed", "copy_range")

_READ = 1 << 20
"""The bytes of one read where the kernel does not copy."""

_NOT_BY_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY}
"""The kernel's errors for files, or file systems, between which it does not copy."""


async def copy_range(
    source: int,
    source_offset: int,
    target: int,
    target_offset: int,
    size: int,
    *,
    report: Callable[[int], object] | None = None,
) -> None:
    """Copy `size` bytes between files given by descriptors, without using or changing their positions.

    Several copies of different ranges into one file may run at once.

    Args:
        source: the file with the bytes.
        source_offset: the offset of the first byte.
        target: the file to write.
        target_offset: the offset for the first byte.
        size: the number of bytes.
        report: called with the number of bytes copied so far.

    Raises:
        DataCorrupt: the source ends early.
        StorageError, StorageFull: the operating system refused.

    Cancellation:
        After the current piece of at most 8 MiB; the copied bytes stay.
    """
    done = 0
    while done < size:
        most = min(size - done, calls.CALL_BYTES)
        count = await calls.run(_copy, source, source_offset + done, target, target_offset + done, most)
        if count == 0:
            raise _ends_early(source, size, done)
        done += count
        if report is not None:
            report(done)


async def copy_hashed(
    source: tuple[int, int],
    target: tuple[int, int],
    size: int,
    algorithm: str,
    *,
    report: Callable[[int], object] | None = None,
) -> str:
    """Copy `size` bytes like `copy_range`, with one hop to a thread, and return the digest of the written bytes.

    Args:
        source: a descriptor and an offset: the bytes to copy.
        target: a descriptor and an offset to write to.
        size: the number of bytes.
        algorithm: the algorithm of the digest.
        report: called at intervals with the number of bytes copied so far, and at the end.

    Returns:
        The digest's hex digits.

    Raises:
        DataCorrupt: the source ends early.
        StorageError, StorageFull: the operating system refused.

    Cancellation:
        After a piece of 1 MiB; the copied bytes stay.
    """
    hasher = Hasher([algorithm])
    done = 0
    while done < size:
        job = Job()
        report_bytes = None if report is None else partial(_report, report, job, done)
        begin, end = (source[0], source[1] + done), (target[0], target[1] + done)
        count = await watched(job, report_bytes, _copy_hashed, hasher, begin, end, size - done, job)
        done += count
        if job.cancelled:
            await checkpoint()
        elif done < size:
            raise _ends_early(source[0], size, done)
    if report is not None:
        report(size)
    return hasher.encoded()[0]


def _copy_hashed(hasher: Hasher, source: tuple[int, int], target: tuple[int, int], most: int, job: Job) -> int:
    try:
        return hasher.copy_from(source, target, most, job)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError.of(error, operation="copy") from error


def _report(report: Callable[[int], object], job: Job, before: int) -> None:
    report(before + job.done)


def _ends_early(source: int, size: int, done: int) -> DataCorrupt:
    return DataCorrupt(f"descriptor {source}", expected=f"{size} bytes", actual=f"{done} bytes")


def _copy(source: int, source_offset: int, target: int, target_offset: int, most: int) -> int:
    try:
        count = _in_kernel(source, source_offset, target, target_offset, most)
    except OSError as error:
        raise StorageError.of(error, operation="copy") from error
    # The disk writes while the next piece is copied, so the sync at the end has little left to write.
    start_writeback(target, target_offset, count)
    return count


def _in_kernel(source: int, source_offset: int, target: int, target_offset: int, most: int) -> int:
    try:
        count = os.copy_file_range(source, target, most, source_offset, target_offset)
    except OSError as error:
        if error.errno not in _NOT_BY_KERNEL:
            raise
        count = 0
    # Some kernels return 0 for files that they cannot copy, so a read decides whether the source has ended.
    return count or _by_hand(source, source_offset, target, target_offset, most)


def _by_hand(source: int, source_offset: int, target: int, target_offset: int, most: int) -> int:
    data = os.pread(source, min(most, _READ), source_offset)
    view = memoryview(data)
    written = 0
    while written < len(data):
        written += os.pwrite(target, view[written:], target_offset + written)
    return written
