"""The page docs/downloads.md: its programs and its commands, with a server of the tests' own."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.fork_server import ForkServer
from cli.runner import Shell

from steelyard.fetch import Retries

from .server import Server, whole

PAGE = (Path(__file__).parents[2] / "docs" / "downloads.md").read_text(encoding="utf-8")
FILES = {"wool.txt": b"ten pounds of wool\n", "flax.txt": b"two pounds of flax\n"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Give a shell with no store yet."""
    fork_server = ForkServer()
    yield Shell(tmp_path, fork_server)
    fork_server.close()


@pytest.fixture
def files(server: Server) -> str:
    """Give the address of a server with the files of the page."""
    for name, data in FILES.items():
        server.plan(f"/files/{name}", whole(data))
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in FILES.items())
    server.plan("/files/SHA256SUMS", whole(lines.encode()))
    return server.url("")


@pytest.mark.parametrize("text", blocks("python"), ids=["urls", "other sources"])
def test_the_programs_run(text: str, shell: Shell, files: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text.replace("https://example.org", files)],
        cwd=shell.home,
        env=shell.environment,
        capture_output=True,
        text=True,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "sha256:" in done.stdout


def test_the_commands_run(shell: Shell, files: str) -> None:
    (text,) = blocks("sh")
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in FILES.items())
    (shell.home / "SHA256SUMS").write_text(sums, encoding="utf-8")
    lines = [line.partition(" #")[0].split() for line in text.replace("https://example.org", files).splitlines()]

    assert 3 == len(lines)
    for program, *words in lines:
        assert "steelyard" == program
        shell.run(*words)
    assert "files/wool" in shell.run("images", "ls").out


def test_the_page_gives_the_numbers_of_the_retries() -> None:
    text, retries = " ".join(PAGE.split()), Retries()

    assert f"{retries.silence_seconds:.0f} s of silence" in text
    assert f"doubles from {retries.first_seconds} s to {retries.most_seconds:.0f} s" in text
    assert 6 == retries.attempts
    assert "After six attempts in a row" in text
