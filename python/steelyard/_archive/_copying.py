"""Bytes from one file into another at their offsets, in the kernel where it can."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from steelyard import _bridge
from steelyard._types import Buffer
from steelyard.errors import DataCorrupt, StorageError, StorageFull

__all__ = ("copy_range",)

_READ = 1 << 20
"""What is read and written at once where the kernel does not copy by itself."""

_HASHED = 256 << 10
"""What is read at once to be hashed and written: it is still in the processor's second-level cache by then."""

_NOT_BY_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY}
"""The kernel's words for files, or file systems, between which it does not copy."""


async def copy_range(
    source: int,
    source_offset: int,
    target: int,
    target_offset: int,
    size: int,
    *,
    update: Callable[[Buffer], object] | None = None,
    report: Callable[[int], object] | None = None,
) -> None:
    """Copy `size` bytes between files that are given by descriptors; their positions are neither used nor changed.

    Copies of different ranges into one file may run side by side.

    Args:
        source: where the bytes are.
        source_offset: the first of them.
        target: where they go.
        target_offset: where the first of them goes.
        size: how many there are.
        update: given the very bytes that are written, in their order, on a worker thread: a hasher's. Without it they stay
            in the kernel.
        report: called with the number of bytes copied so far.

    Raises:
        DataCorrupt: the source ends early.
        StorageError, StorageFull: the operating system refused.

    Cancellation:
        After the piece under way, at most 8 MiB; what was copied stays.
    """
    if update is None:

        def piece(source_offset: int, target_offset: int, most: int) -> int:
            return _in_kernel(source, source_offset, target, target_offset, most)
    else:
        buffer = bytearray(min(size, _HASHED))

        def piece(source_offset: int, target_offset: int, most: int) -> int:
            return _hashed(update, buffer, (source, source_offset), (target, target_offset), most)

    done = 0
    while done < size:
        most = min(size - done, _bridge.PIECE)
        count = await _bridge.run(_copy, piece, source_offset + done, target_offset + done, most)
        if count == 0:
            raise DataCorrupt(f"descriptor {source}", expected=f"{size} bytes", actual=f"{done} bytes")
        done += count
        if report is not None:
            report(done)


def _copy(piece: Callable[[int, int, int], int], source_offset: int, target_offset: int, most: int) -> int:
    try:
        return piece(source_offset, target_offset, most)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (StorageFull if full else StorageError)(error.errno or errno.EIO, None, "copy") from error


def _in_kernel(source: int, source_offset: int, target: int, target_offset: int, most: int) -> int:
    try:
        count = os.copy_file_range(source, target, most, source_offset, target_offset)
    except OSError as error:
        if error.errno not in _NOT_BY_KERNEL:
            raise
        count = 0
    # 0 is what some kernels say of files that they cannot copy: the end of the source shows when it is read.
    return count or _by_hand(source, source_offset, target, target_offset, most)


def _hashed(
    update: Callable[[Buffer], object], buffer: bytearray, source: tuple[int, int], target: tuple[int, int], most: int
) -> int:
    """Copy from a descriptor and offset to another through a buffer, and return the number of bytes copied."""
    whole = memoryview(buffer)
    done = 0
    while done < most:
        count = os.preadv(source[0], [whole[: most - done]], source[1] + done)
        if count == 0:
            break
        update(whole[:count])
        written = 0
        while written < count:
            written += os.pwrite(target[0], whole[written:count], target[1] + done + written)
        done += count
    return done


def _by_hand(source: int, source_offset: int, target: int, target_offset: int, most: int) -> int:
    data = os.pread(source, min(most, _READ), source_offset)
    view = memoryview(data)
    written = 0
    while written < len(data):
        written += os.pwrite(target, view[written:], target_offset + written)
    return written
