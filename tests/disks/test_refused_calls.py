"""System calls that fail by a number of their own, also those that SQLite makes: the error has that number and the path."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from support.seccomp import NUMBERS

from steelyard import MemoryStore, images

SCRIPT = Path(__file__).with_name("refused_calls.py")
_HANG_SECONDS = 60

SETLK, OFD_SETLK = 6, 37
SYNC = "fsync@meta.db-wal"
"""SQLite's sync of its log, which acknowledges labels."""


def attempt(root: Path, step: str, number: int, *calls: str) -> list[str]:
    """Return what the store reports when these calls fail."""
    if not NUMBERS:
        pytest.skip("no numbers of system calls for this processor")
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), str(root), step, str(number), *calls],
        capture_output=True,
        text=True,
        timeout=_HANG_SECONDS,
        check=False,
        env=os.environ | {"STEELYARD_ALLOW_DEBUG": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if "seccomp" in ended.stderr:
        pytest.skip(f"no filter of system calls here: {ended.stderr.splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split(maxsplit=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EDQUOT, "StorageFull"),
        (errno.ENOSPC, "StorageFull"),
        (errno.EROFS, "StorageError"),
        (errno.ESTALE, "StorageError"),
    ],
)
@pytest.mark.parametrize("step", ["update", "put"])
def test_a_failed_sync_of_metadata_has_its_own_number(step: str, number: int, kind: str, tmp_path: Path) -> None:
    said = attempt(tmp_path, step, number, SYNC)

    assert said == [kind, str(number), f"{tmp_path}/meta.db\n"]


def test_a_sync_that_a_signal_ends_is_not_called_interrupted(tmp_path: Path) -> None:
    # It is not known what reached the disk, so it is a failure; SQLite does not repeat it.
    assert attempt(tmp_path, "update", errno.EINTR, SYNC)[:2] == ["StorageError", str(errno.EIO)]


def test_a_quota_that_refuses_bytes_of_metadata_is_reported_as_such(tmp_path: Path) -> None:
    assert attempt(tmp_path, "update", errno.EDQUOT, "pwrite64") == [
        "StorageFull",
        str(errno.EDQUOT),
        f"{tmp_path}/meta.db\n",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
@pytest.mark.parametrize(
    ("step", "command", "file"),
    [
        ("open", SETLK, "meta.db"),
        ("update", SETLK, "meta.db"),
        ("open", OFD_SETLK, "lock"),
        ("writer", OFD_SETLK, "lock"),
        ("put", OFD_SETLK, "lock"),
    ],
)
def test_a_file_system_that_refuses_locks_is_not_waited_for(
    step: str, command: int, file: str, number: int, tmp_path: Path
) -> None:
    kind, found, path = attempt(tmp_path, step, number, f"fcntl:{command}")

    assert [kind, found] == ["StorageError", str(number)]
    assert path.startswith(f"{tmp_path}/{file}")


def test_an_archive_that_cannot_be_read_is_named() -> None:
    async def read() -> None:
        async with MemoryStore() as store:
            await images.import_images(store, "/proc/self/mem")  # its first page is not mapped

    with pytest.raises(OSError, match="/proc/self/mem") as refusal:
        anyio.run(read)

    assert (refusal.value.errno, refusal.value.filename) == (errno.EIO, "/proc/self/mem")
