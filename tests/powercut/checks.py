"""Checks of a store after a power cut, by the shipped command, against the history of acknowledgements."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.fork_server import ForkServer

from powercut.history import History, content
from powercut.work import STORES

__all__ = ("Checks", "reached")

STORE = "store:made"
"""The key of a store itself: its value is true once it was opened."""

_DAMAGED = 5
"""The exit code of `verify` where it finds damage."""


class Checks:
    """Runs the command on the store of one mounted disk after the other."""

    def __init__(self, disk: Path, home: Path, kind: str) -> None:
        self._disk = disk
        self._home = home
        self._root = disk
        self._may_return = kind == "ext4-no-journal"
        """Without a journal, a name that was removed may come back: an ingest's, or one more name of a file."""
        self._server = ForkServer()

    def close(self) -> None:
        """End the process that runs the commands."""
        self._server.close()

    def problems(self, history: History, at: int) -> list[str]:
        """Return what is not as it was acknowledged before that many operations, a line each."""
        self._found: list[str] = []
        for store in STORES:
            self._root = self._disk / store
            self._store(history.of(store), at, collects=store == "collected")
        return self._found

    def _store(self, history: History, at: int, *, collects: bool) -> None:
        """Check one store, and remove its garbage at the end, if there can be any."""
        is_made = history.acknowledged(STORE, at)
        if is_made:
            self._command("doctor", "--format", "json")
        if not collects:
            self._put(at)
        elif not is_made:
            return
        self._verify(history, at)
        blobs = {f"blob:{record['digest']}": record for record in self._records("ls", "blob")}
        names = {f"name:{record['name']}": record["digest"] for record in self._records("images ls", "image")}
        ingests = {f"ingest:{record['ref']}": record for record in self._records("ingests", "ingest")}
        held = self._records("leases ls", "lease") if collects else []
        leases = {f"lease:{record['id']}": record for record in held}
        entries = {f"entry:{lease['id']} {digest}": True for lease in leases.values() for digest in lease["blobs"]}
        self._compare("blob", {key: record["labels"] for key, record in blobs.items()}, history, at)
        self._compare("name", names, history, at)
        self._compare("file", self._files(history), history, at)
        self._compare("lease", {key: record["labels"] for key, record in leases.items()}, history, at)
        self._compare("entry", entries, history, at)
        for record in history.pending(at):
            before = [key for key in record.either if history.acknowledged(key, at) is not None]
            if before and not set(record.either) & (blobs.keys() | ingests.keys()):
                self._found.append(f"neither of {record.either} is there")
        # The mode is part of what a commit acknowledges; before that, a file system may have it later than the name.
        acknowledged = {key: record for key, record in blobs.items() if history.acknowledged(key, at) is not None}
        self._attributes(acknowledged, history.under_way(at))
        if collects:
            roots = {*names.values(), *(digest for lease in leases.values() for digest in lease["blobs"])}
            self._collect(history, {record["digest"] for record in blobs.values()}, roots)
        for key in sorted({*history.keys("ingest"), *ingests}):
            self._ingest(key, ingests.get(key), history, at)

    def _verify(self, history: History, at: int) -> None:
        """Read all blobs: only those may be damaged that a workload has damaged, and they are moved aside."""
        damaged = {key for key in history.keys("damage") if True in history.allowed(key, at)}
        out = self._command("verify", "--all", "--format", "jsonl", codes=(0, _DAMAGED) if damaged else (0,))
        for record in map(json.loads, out.splitlines()):
            if record.get("ok") is False and f"damage:{record['digest']}" not in damaged:
                self._found.append(f"blob {record['digest']} is damaged")

    def _collect(self, history: History, stored: set[str], roots: set[str]) -> None:
        """Collect all garbage: what the roots keep must be left, and nothing else."""
        self._command("gc", "--grace", "0s")
        left = {record["digest"] for record in self._records("ls", "blob")}
        if lost := (reached(history, roots, stored) & stored) - left:
            self._found.append(f"a collection removed what roots keep: {sorted(lost)}")
        # A document that is gone keeps what it names, if the store knows that.
        if garbage := left - reached(history, roots, None):
            self._found.append(f"a collection left garbage: {sorted(garbage)}")

    def _compare(self, kind: str, found: dict[str, Any], history: History, at: int) -> None:
        for key in sorted({*found, *history.keys(kind)}):
            allowed = history.allowed(key, at)
            if found.get(key) not in allowed:
                self._found.append(f"{key}: {found.get(key)}, not one of {allowed}")

    def _put(self, at: int) -> None:
        """Store something new, and remove it again: it was not there before the cut."""
        data = f"after a cut at {at}".encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._command("put", "--label", "after=cut", "-", stdin=data)
        if self._command("get", digest) != data:
            self._found.append("a new blob is not read as it was put")
        self._command("rm", digest)

    def _attributes(self, blobs: dict[str, dict[str, Any]], under_way: set[str]) -> None:
        for key, blob in blobs.items():
            path = self._root / "blobs" / blob["digest"].replace(":", "/")
            try:
                file = path.stat()
            except OSError as error:
                self._found.append(f"{path.name}: {error}")
                continue
            created = datetime.fromisoformat(blob["created_at"]).timestamp()
            # A blob that is removed and stored again may have the new labels and time, and the old file.
            has_time = key in under_way or abs(file.st_mtime - created) < 1e-5
            found = (stat.S_IMODE(file.st_mode), file.st_size, has_time)
            if found != (0o444, blob["size"], True) or (file.st_nlink > 1 and not self._may_return):
                shown = f"mode {file.st_mode:o}, {file.st_size} bytes, {file.st_nlink} names, changed {file.st_mtime}"
                self._found.append(f"blob {path.name}: {shown}, not {blob}, created {created}")

    def _files(self, history: History) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for key in history.keys("file"):
            path = self._disk / key.removeprefix("file:")
            found[key] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
        return found

    def _ingest(self, key: str, found: dict[str, Any] | None, history: History, at: int) -> None:
        """An ingest stands at what was acknowledged or after it, and can be finished to the right digest."""
        allowed = history.allowed(key, at)
        known = next((value for value in allowed if value is not None), None)
        if found is None:
            if None not in allowed:
                self._found.append(f"{key}: gone, not one of {allowed}")
            return
        if known is None:
            if not self._may_return:
                self._found.append(f"{key}: {found}, which was not there or removed")
            return
        least = 0 if allowed[0] is None else allowed[0]["offset"]
        if not least <= found["offset"] <= known["size"]:
            self._found.append(f"{key}: at {found['offset']}, acknowledged {least} of {known['size']}")
        data = content(known["content"], known["size"])
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        # The command reads its input from the start, and stores it from the ingest's offset on.
        self._command("put", "--ref", found["ref"], "--verify", "--expected", digest, "-", stdin=data)
        if self._command("get", digest) != data:
            self._found.append(f"{key}: resumed and committed, and has other bytes")

    def _records(self, command: str, kind: str) -> list[dict[str, Any]]:
        lines = self._command(*command.split(), "--format", "jsonl").splitlines()
        return [record for record in map(json.loads, lines) if record["type"] == kind]

    def _command(self, *words: str, stdin: bytes = b"", codes: tuple[int, ...] = (0,)) -> bytes:
        environment = os.environ | {"STEELYARD_STORE": str(self._root), "LC_ALL": "C", "HOME": str(self._home)}
        code, out, err = self._server.run(words, stdin=stdin, directory=self._home, environment=environment)
        if code not in codes:
            shown = (out if "json" in "".join(words) else b"") + err
            self._found.append(
                f"steelyard {' '.join(words)}: exit code {code}: {shown.decode(errors='replace')[-1500:]}"
            )
        return out


def reached(history: History, roots: set[str], stored: set[str] | None) -> set[str]:
    """Return what blobs name, directly or not, and themselves; `stored`: only documents that are stored name others."""
    reached: set[str] = set()
    rest = roots
    while rest:
        reached |= rest
        documents = rest if stored is None else rest & stored
        rest = {part for digest in documents for part in history.parts(digest)} - reached
    return reached
