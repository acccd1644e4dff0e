"""The surroundings of a workload: a store, random choices, the shipped command, and a pipe for acknowledgements.

`python work.py NAME DISK SEED POSITION PIPE` runs `workloads/NAME.py` on the mounted DISK.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread

from powercut.history import Change, Record, content
from steelyard import LocalStore

__all__ = (
    "STORES",
    "WORKLOADS",
    "Work",
    "blob",
    "digest_of",
    "entry",
    "file",
    "ingest",
    "lease",
    "loose",
    "main",
    "name",
    "parts",
    "transfer",
)

STORES = ("store", "collected")
"""The stores on the disk. Only in the second one garbage is collected, by one workload."""

WORKLOADS = sorted(path.stem for path in Path(__file__).with_name("workloads").glob("[!_]*.py"))


class Work:
    """The surroundings of one workload."""

    def __init__(self, name: str, disk: Path, seed: str, position: Path, pipe: int) -> None:
        self.name = name
        self.disk = disk
        self.place = "store"
        self.chance = random.Random(f"{seed} {name}")
        self._position = os.open(position, os.O_RDONLY)
        self._pipe = pipe
        self._contents = 0

    @property
    def root(self) -> Path:
        """The root of the store."""
        return self.disk / self.place

    def use(self, store: str) -> None:
        """Work on that store from now on."""
        self.place = store

    def position(self) -> int:
        """Return how many operations the disk has carried out."""
        return int.from_bytes(os.pread(self._position, 8, 0), "little")

    def acknowledged(self, begun: int, *changes: Change, at: int | None = None, either: tuple[str, ...] = ()) -> None:
        """Report a call that returned: now, or when `at` was the position."""
        record = Record(begun, self.position() if at is None else at, list(changes), list(either), self.place)
        os.write(self._pipe, msgspec.json.encode(record) + b"\n")

    def content(self, *most: int) -> tuple[str, bytes]:
        """Return bytes that no other call gives, of a random size up to one of those; and the seed for `content`."""
        self._contents += 1
        seed = f"{self.name}/{self._contents}/{self.chance.getrandbits(64)}"
        return seed, content(seed, 16 + self.chance.randrange(self.chance.choice(most)))

    def data(self, *most: int) -> bytes:
        """Return such bytes alone."""
        return self.content(*most)[1]

    def labels(self) -> dict[str, str]:
        """Return labels that no other call gives."""
        return {"workload": self.name, "number": str(self.chance.getrandbits(48))}

    def store(self) -> LocalStore:
        """Return the store, to be opened."""
        return LocalStore(self.root)

    async def command(self, *words: str | Path, stdin: bytes = b"") -> str:
        """Run the shipped command to its end, without an error, and return what it printed."""

        def run() -> subprocess.CompletedProcess[bytes]:
            command = [sys.executable, "-m", "steelyard", "--store", self.root, *words]
            return subprocess.run(command, input=stdin, capture_output=True)

        done = await to_thread.run_sync(run)
        if done.returncode:
            raise RuntimeError(f"steelyard {' '.join(map(str, words))}: {done.stderr.decode()}")
        return done.stdout.decode()


def blob(data_or_digest: bytes | str, labels: Mapping[str, str] | None, *during: Mapping[str, str] | None) -> Change:
    """Return the change of a blob of those bytes (by SHA-256) or of that digest; None: it is not stored."""
    digest = digest_of(data_or_digest) if isinstance(data_or_digest, bytes) else data_or_digest
    return Change(f"blob:{digest}", None if labels is None else dict(labels), list(during))


def digest_of(data: bytes) -> str:
    """Return the SHA-256 digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def loose(data: bytes, labels: Mapping[str, str]) -> Change:
    """Return the change of a blob that no longer has what kept it: the next collection removes it, with its labels or after them."""
    return msgspec.structs.replace(blob(data, labels), later=[{}, None])


def lease(text: str, labels: Mapping[str, str] | None) -> Change:
    """Return the change of a lease to those labels; None: there is no such lease."""
    return Change(f"lease:{text}", None if labels is None else dict(labels))


def entry(text: str, data: bytes, *, there: bool = True) -> Change:
    """Return the change of a blob in a lease."""
    return Change(f"entry:{text} {digest_of(data)}", there or None)


def parts(document: bytes, *blobs: bytes) -> Change:
    """Return the blobs that a document names."""
    return Change(f"parts:{digest_of(document)}", [digest_of(data) for data in blobs])


def name(text: str, digest: object) -> Change:
    """Return the change of an image name to that target; None: there is no such name."""
    return Change(f"name:{text}", None if digest is None else str(digest))


def ingest(ref: str, seed: str = "", size: int = 0, offset: int | None = None) -> Change:
    """Return the change of an ingest of `content(seed, size)` to that offset; without one, the ingest is gone."""
    value = None if offset is None else {"content": seed, "size": size, "offset": offset}
    return Change(f"ingest:{ref}", value)


def transfer(ref: str, data: bytes) -> Change:
    """Return the change of an ingest that a call makes of those bytes and commits: a part of it may be there meanwhile."""
    return Change(f"ingest:{ref}", None, [{"content": f"hex:{data.hex()}", "size": len(data), "offset": 0}])


def file(disk: Path, path: Path, data: bytes | None = None) -> Change:
    """Return the change of a file below the disk to those bytes, or to those that it has."""
    digest = hashlib.sha256(path.read_bytes() if data is None else data).hexdigest()
    return Change(f"file:{path.relative_to(disk)}", digest)


def main(workload: str, disk: str, seed: str, position: str, pipe: str) -> None:
    """Run a workload to its end."""
    module = importlib.import_module(f"powercut.workloads.{workload}")
    anyio.run(module.run, Work(workload, Path(disk), seed, Path(position), int(pipe)))


if __name__ == "__main__":
    main(*sys.argv[1:])
