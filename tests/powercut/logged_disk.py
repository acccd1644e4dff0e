"""A FUSE file system of one file that logs every write, discard and flush in order: the disk below a loop mount.

`python logged_disk.py FILE IMAGE LOG POSITION` mounts itself over FILE, which then has the bytes of IMAGE, and serves until it is
unmounted. It writes operations to LOG, and their number to the first 8 bytes of POSITION before it answers each of them. So a
program that reads POSITION after a call returned knows which operations came before.

It speaks the protocol of `/dev/fuse` itself, because one file needs six requests of it: no library and no compiler is needed.
It is a process of its own, as the kernel waits for it where a process cannot be killed.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ("DISCARD", "FLUSH", "WRITE", "Operation", "read_log")

WRITE, FLUSH, DISCARD = 1, 2, 3
_ENTRY = struct.Struct("=QQQ")

_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE = 1, 2, 3, 4, 14, 15, 16
_RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET, _FALLOCATE = 18, 20, 25, 26, 36, 38, 42, 43
_UNANSWERED = {_FORGET, _BATCH_FORGET, _INTERRUPT}
_IN, _OUT = struct.Struct("=IIQQIIIHH"), struct.Struct("=IiQ")
_PIECE = struct.Struct("=QQI")  # of a read or a write: handle, offset, size
_RANGE = struct.Struct("=QQQI")  # of fallocate: handle, offset, length, mode
_MOST_BYTES = 1 << 20
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_KEEP_CACHE = 1 << 1
_PUNCH_HOLE, _ZERO_RANGE, _KEEP_SIZE = 2, 16, 1
_FILE = 0o100600
_PR_SET_IO_FLUSHER = 57
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 1 << 14, 1 << 18, 2


class Operation(NamedTuple):
    """An entry of the log: WRITE, FLUSH or DISCARD, where, and the written bytes. A discarded range reads as zeros."""

    kind: int
    offset: int
    size: int
    data: memoryview


def read_log(log: memoryview) -> Iterator[Operation]:
    """Yield the operations of a log in the order in which the disk got them."""
    at = 0
    while at < len(log):
        kind, offset, size = _ENTRY.unpack_from(log, at)
        at += _ENTRY.size
        end = at + (size if kind == WRITE else 0)
        yield Operation(kind, offset, size, log[at:end])
        at = end


class Disk:
    """The file: its image, its log, and the answers to the kernel's requests."""

    def __init__(self, image: str, log: str, position: str) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._size = os.fstat(self._image).st_size
        with open(position, "r+b") as file:  # noqa: PTH123
            self._position = mmap.mmap(file.fileno(), 8)
        self._count = 0
        self._answers: dict[int, Callable[[memoryview], bytes | None]] = {
            _INIT: self._init,
            _GETATTR: self._attributes,
            _SETATTR: self._attributes,
            _OPEN: lambda _: struct.pack("=QII", 0, _KEEP_CACHE, 0),
            _READ: self._read,
            _WRITE: self._write,
            _FSYNC: self._flush,
            _FALLOCATE: self._discard,
            _FLUSH: lambda _: b"",
            _RELEASE: lambda _: b"",
            _DESTROY: lambda _: b"",
        }

    def answer(self, code: int, body: memoryview) -> bytes:
        """Carry out a request and return the answer, or raise OSError."""
        answer = self._answers.get(code)
        found = None if answer is None else answer(body)
        if found is None:
            raise OSError(errno.ENOSYS, "not a request for a disk")
        return found

    def _init(self, body: memoryview) -> bytes:
        major, minor, ahead, _ = struct.unpack_from("=IIII", body)
        flags = _BIG_WRITES | _MAX_PAGES
        pages = _MOST_BYTES // mmap.PAGESIZE
        return struct.pack(
            "=IIIIHHIIHHII24x", major, min(minor, 31), ahead, flags, 16, 12, _MOST_BYTES, 1, pages, 0, 0, 0
        )

    def _attributes(self, _: memoryview) -> bytes:
        times = (0,) * 6
        return struct.pack(
            "=QII6Q10I",
            3600,
            0,
            0,
            1,
            self._size,
            self._size // 512,
            *times[:3],
            *times[3:],
            _FILE,
            1,
            0,
            0,
            0,
            4096,
            0,
        )

    def _read(self, body: memoryview) -> bytes:
        _, offset, size = _PIECE.unpack_from(body)
        return os.pread(self._image, size, offset)

    def _write(self, body: memoryview) -> bytes:
        _, offset, size = _PIECE.unpack_from(body)
        data = body[40 : 40 + size]
        os.pwrite(self._image, data, offset)
        self.note(WRITE, offset, size, data)
        return struct.pack("=II", size, 0)

    def _flush(self, _: memoryview) -> bytes:
        self.note(FLUSH, 0, 0)
        return b""

    def _discard(self, body: memoryview) -> bytes | None:
        _, offset, size, mode = _RANGE.unpack_from(body)
        if mode & ~_KEEP_SIZE not in {_PUNCH_HOLE, _ZERO_RANGE}:
            return None
        punch_hole(self._image, offset, size)
        self.note(DISCARD, offset, size)
        return b""

    def note(self, kind: int, offset: int, size: int, data: memoryview | bytes = b"") -> None:
        """Add an entry to the log, and count it."""
        os.writev(self._log, [_ENTRY.pack(kind, offset, size), data])
        self._count += 1
        self._position[:8] = self._count.to_bytes(8, "little")

    def close(self) -> None:
        """Close the files."""
        os.close(self._image)
        os.close(self._log)
        self._position.close()


def punch_hole(descriptor: int, offset: int, size: int) -> None:
    """Make a range of a file read as zeros."""
    call(_libc().fallocate, descriptor, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_long(offset), ctypes.c_long(size))


def call(function: Callable[..., int], *arguments: object) -> int:
    """Call a function of the C library, and raise its error."""
    found = function(*arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def serve(point: str, disk: Disk) -> None:
    """Mount the file over that path, and answer until it is unmounted."""
    # While memory is short, the kernel must not have this process wait for writes that wait for this process.
    _libc().prctl(_PR_SET_IO_FLUSHER, 1, 0, 0, 0)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode={_FILE:o},user_id=0,group_id=0".encode()
    call(_libc().mount, b"powercut", os.fsencode(point), b"fuse", ctypes.c_ulong(0), options)
    _leave_mounts(point)
    request = bytearray(_MOST_BYTES + 4096)
    whole = memoryview(request)
    while True:
        try:
            size = os.readv(fuse, [request])
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            if error.errno in {errno.ENOENT, errno.EINTR}:  # the request was taken back
                continue
            raise
        _, code, unique, *_ = _IN.unpack_from(request)
        if code in _UNANSWERED:
            continue
        try:
            found, number = disk.answer(code, whole[_IN.size : size]), 0
        except OSError as error:
            found, number = b"", error.errno or errno.EIO
        os.writev(fuse, [_OUT.pack(_OUT.size + len(found), -number, unique), found])


def _leave_mounts(point: str) -> None:
    """Enter a mount namespace without this disk, so that this process never unmounts the file system on it.

    When the last process of a mount namespace exits, the kernel unmounts the remaining file systems before it closes /dev/fuse. If this
    process were the last, the kernel would wait forever for its answer.
    """
    call(_libc().unshare, _CLONE_NEWNS)
    call(_libc().mount, None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    call(_libc().umount2, os.fsencode(point), _MNT_DETACH)


if __name__ == "__main__":
    serve(sys.argv[1], Disk(*sys.argv[2:]))
