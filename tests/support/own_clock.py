"""A wall clock that a process moves for itself alone.

Programs read the clock through the vDSO, code of the kernel that is mapped into each process. `move` replaces `clock_gettime` there, in this
process only, by instructions that ask the kernel and add a number of seconds to the wall clock. Python, libc and the core, which does not
call libc for this, then see the same clock. libfaketime would move Python's alone. The clock since the boot stays, because it cannot be set.
The times that the kernel gives to files stay too.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from pathlib import Path

__all__ = ("CAN_MOVE", "move")

CAN_MOVE = sys.platform == "linux" and platform.machine() == "x86_64"

_PT_DYNAMIC = 2
_DT_STRTAB, _DT_SYMTAB = 5, 6
_READ_AND_RUN = mmap.PROT_READ | mmap.PROT_EXEC

_seconds: memoryview | None = None
"""The number of seconds in the first 8 bytes of a page, before the instructions. It is written by one instruction, as other threads read it."""


def move(seconds: int) -> None:
    """Move the wall clock of this process by that much from the machine's. The first call must come before any thread is started."""
    global _seconds  # noqa: PLW0603  # there is one clock
    if _seconds is None:
        _seconds = memoryview(_installed())[:8].cast("q")
    _seconds[0] = seconds


def _installed() -> mmap.mmap:
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, _READ_AND_RUN | mmap.PROT_WRITE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    page[8:] = b"".join(
        (
            b"\xb8\xe4\0\0\0\x0f\x05",  # eax = clock_gettime; syscall
            b"\x85\xff\x75\x10",  # unless edi is CLOCK_REALTIME, skip 16 bytes
            b"\x48\xb9" + struct.pack("<Q", start),  # rcx = the address of the number
            b"\x48\x8b\x09\x48\x01\x0e",  # the seconds at rsi += the number there
            b"\xc3",  # return what the kernel returned
        )
    ).ljust(mmap.PAGESIZE - 8, b"\xcc")
    jump = b"\x48\xb8" + struct.pack("<Q", start + 8) + b"\xff\xe0"  # to the instructions
    libc = ctypes.CDLL(None, use_errno=True)
    at = _clock_gettime()
    first, end = _mapping()  # only the whole of it can be protected otherwise
    pages = ctypes.c_void_p(first), ctypes.c_size_t(end - first)
    # It is private, so the kernel copies the page for this process.
    if libc.mprotect(*pages, _READ_AND_RUN | mmap.PROT_WRITE):
        raise OSError(ctypes.get_errno(), "mprotect of the vDSO")
    ctypes.memmove(at, jump, len(jump))
    libc.mprotect(*pages, _READ_AND_RUN)
    ctypes.pythonapi.Py_IncRef(
        ctypes.py_object(page)
    )  # it has to outlive the interpreter, which looks at the clock to the end
    return page


def _mapping() -> tuple[int, int]:
    """Return where the vDSO begins and ends."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.endswith("[vdso]"):
            first, end = line.split()[0].split("-")
            return int(first, 16), int(end, 16)
    raise LookupError("this kernel maps no vDSO")


def _clock_gettime() -> int:
    """Return the address of the vDSO's function, by its symbol table."""
    image, _ = _mapping()
    (headers,) = struct.unpack("<Q", ctypes.string_at(image + 32, 8))
    size, count = struct.unpack("<HH", ctypes.string_at(image + 54, 4))
    parts = [struct.unpack("<IIQQ", ctypes.string_at(image + headers + size * each, 24)) for each in range(count)]
    at = next(image + offset for kind, _, offset, _ in parts if kind == _PT_DYNAMIC)
    tables: dict[int, int] = {}
    while (entry := struct.unpack("<QQ", ctypes.string_at(at, 16)))[0]:
        tables[entry[0]] = image + entry[1]
        at += 16
    symbol = tables[_DT_SYMTAB]
    while symbol < tables[_DT_STRTAB]:  # the strings follow the symbols
        name, _, _, _, value, _ = struct.unpack("<IBBHQQ", ctypes.string_at(symbol, 24))
        if ctypes.string_at(tables[_DT_STRTAB] + name) == b"__vdso_clock_gettime":
            return image + int(value)
        symbol += 24
    raise LookupError("__vdso_clock_gettime")
