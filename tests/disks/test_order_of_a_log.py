"""The order in which SQLite's log gets and loses its name, on ext4 without a journal, which keeps no order by itself.

There a power cut could leave the name with another file behind it: `tests/powercut` found the log of another store.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from gate.calls import why_no_strace
from support.disks import MUST, mounted

CALLS = "open,openat,unlink,ftruncate,fsync,fdatasync,write,pwrite64,close"
_CALL = re.compile(r"\d+ +(\w+)\((?:\d+|AT_FDCWD)?(?:<([^>]*)>)?(?:\(deleted\))?(.*)")


def test_the_inode_of_a_log_is_durable_before_and_after_its_name(tmp_path: Path) -> None:
    if (reason := why_no_strace()) is not None:
        (pytest.fail if MUST else pytest.skip)(reason)
    with mounted("ext4-no-journal", tmp_path) as point:
        store, trace = point / "store", tmp_path / "trace"
        run("a store", store)
        tracer = ["strace", "--follow-forks", "--decode-fds=path", f"--trace={CALLS}", "--output", str(trace)]
        run("a blob", store, *tracer)
        found = of_the_log(trace.read_text(errors="replace"), store)

    made, written, removed = (found.index(call) for call in ("make", "write", "unlink"))
    assert found[made : made + 2] == ["make", "sync"]
    assert made < written < removed
    assert found[removed : removed + 4] == ["unlink", "empty", "sync", "sync directory"]


def run(text: str, store: Path, *tracer: str) -> None:
    """Store a text with a label, by the command."""
    command = [*tracer, sys.executable, "-m", "steelyard", "--store", str(store), "put", "--label", "a=b", "-"]
    done = subprocess.run(command, input=text.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def of_the_log(trace: str, store: Path) -> list[str]:
    """Return what was done to the log, and to its directory."""
    log, found = f"{store}/meta.db-wal", []
    for line in trace.splitlines():
        if (call := _CALL.match(line)) is None:
            continue
        name, path, rest = call.groups()
        if name in {"open", "openat"} and "meta.db-wal" in rest and "O_CREAT" in rest:
            found.append("make")
        elif name == "unlink" and "meta.db-wal" in line:
            found.append("unlink")
        elif path == log:
            words = {"fsync": "sync", "fdatasync": "sync", "ftruncate": "empty", "write": "write", "pwrite64": "write"}
            found += [words[name]] if name in words else []
        elif path == str(store) and name == "fsync":
            found.append("sync directory")
    return found
