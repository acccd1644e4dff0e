"""Runs other programs and our own command as a user would; what is not installed skips the test, or fails it where all must be."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli.fork_server import ForkServer

__all__ = (
    "COMMAND",
    "Ctr",
    "Image",
    "Steelyard",
    "blobs_in",
    "buildah",
    "environment",
    "needs",
    "raw",
    "root_only",
    "run",
    "skopeo",
)

COMMAND = (sys.executable, "-m", "steelyard")
ALL_PROGRAMS = bool(os.environ.get("STEELYARD_ALL_PROGRAMS"))
"""Set by `.ci/run` where it could install them: then nothing is skipped."""


@dataclass(frozen=True)
class Image:
    """An image that another program made.

    Attributes:
        source: where skopeo finds it.
        digest: of its manifest or index, as text.
        blobs: the digests of everything that belongs to it.
    """

    source: str
    digest: str
    blobs: frozenset[str]


def needs(*programs: str) -> None:
    """Skip the test, or fail it, if a program is not there."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and ALL_PROGRAMS:
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def root_only(program: str) -> None:
    """Skip the test if we are not root."""
    needs(program)
    if os.geteuid() != 0:
        pytest.skip(f"{program} works as root only")


def run(*words: str | Path, stdin: bytes = b"", **more: str) -> bytes:
    """Run a program to its end, insist on its success, and return its output."""
    line = [str(word) for word in words]
    needs(line[0])
    done = subprocess.run(line, input=stdin, capture_output=True, env=environment(**more))
    assert 0 == done.returncode, f"{line}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def environment(**more: str) -> dict[str, str]:
    """Return what programs find in their environment: the code under test, and no settings of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STEELYARD_")}
    ours = {"STEELYARD_ALLOW_DEBUG": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return kept | ours | {"LC_ALL": "C.UTF-8"} | more


def skopeo(*words: str | Path) -> bytes:
    """Run skopeo, which may not ask a policy file of the machine.

    It would keep what it knows of blobs, and ask that the next time; where there is no folder for that, it does not.
    """
    return run("skopeo", "--insecure-policy", *words, _CONTAINERS_ROOTLESS_UID="1", XDG_DATA_HOME="/dev/null")


def raw(source: str) -> bytes:
    """Return the very bytes of an image's index or manifest, by skopeo."""
    return skopeo("inspect", "--raw", source)


def buildah(place: Path, *words: str | Path) -> bytes:
    """Run buildah with its data in a folder."""
    root_only("buildah")
    storage = ("--root", place / "storage", "--runroot", place / "run", "--storage-driver", "vfs")
    return run("buildah", *storage, *words)


def blobs_in(folder: Path) -> frozenset[str]:
    """Return the digests that a layout or a ``dir:`` of skopeo's has files for."""
    return frozenset(f"sha256:{path.name}" for path in folder.rglob("*") if len(path.name) == 64)


@dataclass(frozen=True)
class Steelyard:
    """Our command, on a store of its own."""

    store: Path
    fork_server: ForkServer

    def __call__(self, *words: str | Path, stdin: bytes = b"", code: int = 0) -> bytes:
        """Run a command line to its end, insist on its exit code, and return its output."""
        line = [str(word) for word in words]
        found, out, err = self.fork_server.run(
            line,
            stdin=stdin,
            directory=self.store.parent,
            environment=environment(STEELYARD_STORE=str(self.store), NO_COLOR="1"),
        )
        assert code == found, f"{line}: {err.decode(errors='replace')}"
        return out

    def document(self, *words: str | Path, **options: Any) -> dict[str, Any]:
        """Run a command and return its result."""
        found = json.loads(self(*words, "--format", "json", **options))
        assert isinstance(found, dict)
        return found

    def digest(self, name: str) -> str:
        """Return the digest that a name holds."""
        [image] = [each for each in self("images", "ls").decode().splitlines() if each.split()[0] == name]
        return image.split()[1]

    def blobs(self) -> frozenset[str]:
        """Return the digests of all blobs."""
        return frozenset(self("ls", "-q").decode().split())

    def complete(self, *names: str) -> bool:
        """Say whether all that the images need is there, and whole."""
        checked = self("images", "check", *names).decode().splitlines()
        self("verify", "--all")
        return bool(checked) and all(line.split()[1] == "complete" for line in checked)

    def shell(self, line: str, place: Path) -> bytes:
        """Run a line of shell in a folder, in which ``steelyard`` is our command."""
        program = place / "bin" / "steelyard"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}:{os.environ['PATH']}"
        words = ("bash", "-euo", "pipefail", "-c", f"cd {shlex.quote(str(place))}; {line}")
        return run(*words, STEELYARD_STORE=str(self.store), PATH=path)


@dataclass(frozen=True)
class Ctr:
    """`ctr`, in a namespace of a containerd."""

    address: str
    namespace: str
    program: str = "ctr"

    @property
    def local(self) -> tuple[str, ...]:
        """The option of containerd 2 with which `ctr` itself imports and exports, and not the daemon.

        Without it `ctr` 2.4.2 loses the end of an exported archive now and then, and the lease of an import is the daemon's.
        """
        return () if self.program == "ctr" else ("--local",)

    def __call__(self, *words: str | Path, stdin: bytes = b"") -> bytes:
        """Run a command line to its end, insist on its success, and return its output."""
        return run(*self.line(*words), stdin=stdin)

    def line(self, *words: str | Path) -> list[str]:
        """Return a command line."""
        return [self.program, "--address", self.address, "--namespace", self.namespace, *map(str, words)]

    def digest(self, name: str) -> str:
        """Return the digest that an image name holds."""
        [line] = [line for line in self("images", "ls").decode().splitlines() if line.split()[0] == name]
        return line.split()[2]
