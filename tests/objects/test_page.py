"""The page docs/object-storage.md: its program and its commands, on a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keys")]

PAGE = Path(__file__).parents[2] / "docs" / "object-storage.md"
SHOWN = "s3://bucket/prefix?endpoint=http://127.0.0.1:9107"


def block(language: str, begin: str = "") -> str:
    """Return the first block of the page in a language that begins with a text."""
    found = re.search(
        rf"^```{language}\n({re.escape(begin)}.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found.group(1)


def environment(folder: Path) -> dict[str, str]:
    program = "import sys; from steelyard.cli import main; sys.exit(main())"
    command = folder / "bin" / "steelyard"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{program}' \"$@\"\n", encoding="utf-8")
    command.chmod(0o755)
    return os.environ | {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def test_the_program_runs(address: str, tmp_path: Path) -> None:
    text = block("python")
    assert SHOWN in text

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text.replace(SHOWN, address)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert "b'ten pounds of wool\\n'" in done.stdout


def test_two_lines_start_a_server_and_the_commands_run(tmp_path: Path) -> None:
    install, start = block("sh", "go install").splitlines()
    program = os.environ.get("STEELYARD_VERSITYGW") or shutil.which("versitygw")
    if program is None:
        pytest.skip("versitygw is not installed: .ci/run builds it, and STEELYARD_VERSITYGW is its path")
    install, prepare = install.split(" && ")
    version = install.rpartition("@")[2]
    assert f"local version={version} into" in (PAGE.parents[1] / ".ci" / "run").read_text(encoding="utf-8")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "file").write_bytes(b"data")
    commands = block("sh", "export").splitlines()
    commands = [prepare, start, *(line for line in commands if "import" not in line)]
    wait = "for _ in $(seq 3000); do (: < /dev/tcp/127.0.0.1/9107) 2>/dev/null && break; sleep 0.01; done"
    commands[2:2] = ["trap 'kill $!' EXIT", wait]
    text = "\n".join(commands).replace("~/go/bin/versitygw", program).replace("9107", str(free_port()))

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr
    assert "1 file, 4 bytes: 1 new, 0 already there" in done.stderr
    assert "1 blob, 4 bytes: 0 damaged" in done.stderr
    assert "1 blob of garbage, 4 bytes, stays for now: the grace time is 24 h" in done.stderr
