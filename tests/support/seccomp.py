"""System calls that the kernel refuses with any number, or asks another process about, from a moment on (seccomp)."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

__all__ = ("ANSWER", "NUMBERS", "QUESTION", "RECEIVE", "answer", "refuse", "supervised")

NUMBERS: dict[str, int] = {
    "x86_64": {
        "fcntl": 72,
        "flock": 73,
        "fsync": 74,
        "fdatasync": 75,
        "syncfs": 306,
        "pwrite64": 18,
        "renameat": 264,
        "renameat2": 316,
        "unlinkat": 263,
    },
    "aarch64": {
        "fcntl": 25,
        "flock": 32,
        "fsync": 82,
        "fdatasync": 83,
        "syncfs": 267,
        "pwrite64": 68,
        "renameat": 38,
        "renameat2": 276,
        "unlinkat": 35,
    },
}.get(platform.machine(), {})
"""The numbers of these calls on this processor; empty if this module does not know them."""

_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_ALL_THREADS, _NEW_LISTENER = 1, 8
_ALLOW = 0x7FFF_0000
_ERRNO, _ASK = 0x0005_0000, 0x7FC0_0000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARGUMENTS = 0, 16
"""Where `struct seccomp_data` has them, on machines whose lower half comes first."""


RECEIVE, ANSWER = 0xC050_2100, 0xC018_2101
"""The requests by which the answering process gets a question and answers it (ioctl)."""
QUESTION = struct.Struct("=QIIiIQ6Q")
"""Number, process, flags; call, architecture, instruction, arguments."""
_ANSWERED = struct.Struct("=QqiI")
_GO_ON = 1


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
    _install(steps, _ALL_THREADS)


def supervised(*calls: str) -> int:
    """Have the kernel ask about each such call of this thread and of what it starts; return the descriptor to answer at.

    Until another process answers there, those calls wait.
    """
    last = len(calls)
    steps = [(_LOAD, 0, 0, _NUMBER)]
    steps += [(_EQUAL, last - place, 0, NUMBERS[call]) for place, call in enumerate(calls)]
    return _install([*steps, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ASK)], _NEW_LISTENER)


def answer(number: int, *, go_on: bool = True) -> bytes:
    """Return the answer to a question: make the call, or leave it out and say that it worked."""
    return _ANSWERED.pack(number, 0, 0, _GO_ON if go_on else 0)


def _install(steps: list[tuple[int, int, int, int]], flags: int) -> int:
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    memory = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(steps), ctypes.cast(memory, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if found == 0:
        found = libc.syscall(_SECCOMP[platform.machine()], _SET_MODE_FILTER, flags, ctypes.byref(program))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "seccomp")
    return int(found)
