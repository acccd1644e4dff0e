"""Counts from the output of strace: calls of a kind, and the bytes that they moved."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ("BEGIN", "END", "Calls", "count_calls", "why_no_strace")

BEGIN, END = "/steelyard-gate/begin", "/steelyard-gate/end"
"""Paths that the child asks for, which do not exist: what is counted lies between."""

_NOT_REPEATING = {
    *("futex", "sched_yield", "clone", "clone3", "exit", "rseq", "set_robust_list", "prctl", "gettid", "sigaltstack"),
    *("mmap", "munmap", "mremap", "mprotect", "madvise", "brk", "getrandom", "sched_getaffinity"),
    *("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "sendto", "recvfrom", "clock_nanosleep"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "restart_syscall", "nanosleep", "getpid"),
}
"""Calls of threads, memory and the event loop: how often they happen depends on who is quicker just then, and on Python."""

_KINDS = {
    "opens": {"open", "openat", "openat2", "creat"},
    "writes": {"write", "pwrite64", "writev", "pwritev", "pwritev2", "copy_file_range", "sendfile", "splice"},
    "reads": {"read", "pread64", "readv", "preadv", "preadv2"},
    "renames": {"rename", "renameat", "renameat2", "link", "linkat"},
    "syncs": {"fsync", "fdatasync", "syncfs", "sync", "msync"},
}

_MISSING = " = -1 EOPNOTSUPP "
"""How a call ends that this kernel's tmpfs does not have. The call that is made in its place counts, it does not."""

_CALL = re.compile(r"^(?:(\d+)\s+)?(?:<\.\.\. )?(\w+)(\(| resumed>)(?:.* = (-?\d+))?")


@dataclass(frozen=True)
class Calls:
    """System calls of a job.

    Attributes:
        names: how often each was made, those that do not repeat aside.
        written: bytes.
        read: bytes.
    """

    names: Counter[str]
    written: int
    read: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.names.total()

    def kinds(self) -> dict[str, int]:
        """Return how many there were of each kind that matters."""
        return {kind: sum(self.names[name] for name in names) for kind, names in _KINDS.items()}


def count_calls(lines: Iterable[str]) -> Calls:
    """Count what lies between the marks, in the output of `strace -f -qq`.

    Raises:
        ValueError: the marks are not there.
    """
    names: Counter[str] = Counter()
    passed = {"writes": 0, "reads": 0}
    began = ended = False
    for line in lines:
        if not began:
            began = BEGIN in line
            continue
        if END in line:
            ended = True
            break
        found = _CALL.match(line)
        if found is None or (name := found[2]) in _NOT_REPEATING:
            continue
        if found[3] == "(":
            names[name] += 1
        if _MISSING in line:
            names[name] -= 1
        for kind in passed:
            if name in _KINDS[kind] and found[4] is not None:
                passed[kind] += max(0, int(found[4]))
    if not ended:
        raise ValueError("strace wrote nothing of the job")
    return Calls(+names, written=passed["writes"], read=passed["reads"])


def why_no_strace() -> str | None:
    """Return why system calls cannot be counted here, or None if they can."""
    if shutil.which("strace") is None:
        return "strace is missing: install it (apt-get install strace)"
    tried = subprocess.run(["strace", "-f", "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()[:200]}"
