"""Run a program some of whose syncs do nothing: `python dropped_syncs.py files|directories|names PROGRAM ...`.

The kernel asks this process about each sync of the program and of its children.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import stat
import sys

from support.seccomp import ANSWER, NUMBERS, QUESTION, RECEIVE, answer, supervised

__all__ = ("DROPS", "main")

DROPS = {
    "files": "fsync and fdatasync of files, and syncfs",
    "directories": "fsync of directories",
    "names": "fsync of directories and files but SQLite's: fdatasync and syncfs write the bytes of blobs before it",
}
"""Choice: the syncs that it leaves out."""

SYNCS = ("fsync", "fdatasync", "syncfs")


def main(drop: str, *command: str) -> int:
    """Run a Python program to its end with those syncs dropped, and return its exit code."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        listener = supervised(*SYNCS)
        socket.send_fds(theirs, [b"listener"], [listener])
        for descriptor in (listener, ours.fileno(), theirs.fileno()):
            os.close(descriptor)
        os.execv(sys.executable, [sys.executable, *command])
    theirs.close()
    _, (listener,), _, _ = socket.recv_fds(ours, 100, 1)
    answer_all(listener, drop)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def answer_all(listener: int, drop: str) -> None:
    """Answer until the last process has ended."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ((_, events),) = poll.poll()
        if not events & select.POLLIN:
            return
        question = bytearray(QUESTION.size)
        try:
            fcntl.ioctl(listener, RECEIVE, question)
            number, process, _, call, _, _, descriptor, *_ = QUESTION.unpack(question)
            dropped = is_dropped(drop, process, call, ctypes.c_int(descriptor).value)
            fcntl.ioctl(listener, ANSWER, answer(number, go_on=not dropped))
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EINTR}:  # who asked has ended
                raise


def is_dropped(drop: str, process: int, call: int, descriptor: int) -> bool:
    """Tell whether that sync is to do nothing."""
    if call == NUMBERS["syncfs"]:
        return drop == "files"
    link = f"/proc/{process}/fd/{descriptor}"
    try:
        is_directory, path = stat.S_ISDIR(os.stat(link).st_mode), os.readlink(link)  # noqa: PTH115, PTH116
    except OSError:
        return False
    if drop == "names":
        return call == NUMBERS["fsync"] and "/meta.db" not in path
    return is_directory == (drop == "directories")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
