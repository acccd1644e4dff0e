"""System calls that the kernel refuses with any number, from a moment on and in all threads of this process (seccomp)."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

__all__ = ("NUMBERS", "refuse")

NUMBERS: dict[str, int] = {
    "x86_64": {"fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "pwrite64": 18},
    "aarch64": {"fcntl": 25, "flock": 32, "fsync": 82, "fdatasync": 83, "pwrite64": 68},
}.get(platform.machine(), {})
"""The numbers of these calls on this processor; empty if this module does not know them."""

_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_ALL_THREADS = 1
_ALLOW = 0x7FFF_0000
_ERRNO = 0x0005_0000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARGUMENTS = 0, 16
"""Where `struct seccomp_data` has them, on machines whose lower half comes first."""


class _Program(ctypes.Structure):
    _fields_ = (("size", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse(call: str, number: int, argument: tuple[int, int] | None = None) -> None:
    """Have each such call fail with this number; with `argument`, its place (from 0) and value, only calls that have it.

    There is no way back: do it in a process of its own.
    """
    steps = [(_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, 1 if argument is None else 3, NUMBERS[call])]
    if argument is not None:
        place, value = argument
        steps += [(_LOAD, 0, 0, _ARGUMENTS + 8 * place), (_EQUAL, 0, 1, value)]
    steps += [(_RETURN, 0, 0, _ERRNO | number), (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    memory = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(steps), ctypes.cast(memory, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        _SECCOMP[platform.machine()], _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "seccomp")
