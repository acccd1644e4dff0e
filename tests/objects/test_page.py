"""The page docs/object-storage.md: its program and its commands, on a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keys")]

PAGE = Path(__file__).parents[2] / "docs" / "object-storage.md"
SHOWN = "s3://bucket/prefix?endpoint=http://127.0.0.1:9107"


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
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


def test_the_commands_run(address: str, tmp_path: Path) -> None:
    lines = block("sh").splitlines()
    assert SHOWN in lines[0]
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "file").write_bytes(b"data")
    commands = [line for line in lines[1:] if "import" not in line]
    assert 4 == len(commands)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=environment(tmp_path) | {"STEELYARD_STORE": address},
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr
    assert "1 file, 4 bytes: 1 new, 0 already there" in done.stderr
    assert "1 blob, 4 bytes: 0 damaged" in done.stderr
    assert "1 blob of garbage, 4 bytes, stays for now: the grace time is 24 h" in done.stderr
