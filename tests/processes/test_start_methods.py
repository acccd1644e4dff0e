"""Processes as users start them: `multiprocessing` by each start method, `ProcessPoolExecutor` and `anyio.to_process`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("start_methods.py")
LIMIT_SECONDS = 110
OBJECTS = ("store", "writer", "reader", "stream", "names", "walk", "verification", "puts")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_what_is_open_stays_with_its_process_and_others_open_their_own(
    method: str, backend: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "ignore", str(PROGRAM), method, backend, str(tmp_path)]
    environment = os.environ | {"STEELYARD_ALLOW_DEBUG": "1"}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)

    # asyncio warns when its own poll of a process comes before the thread that waits for it: one that `to_process` ends.
    said = [line for line in done.stderr.splitlines() if not line.startswith("Unknown child process pid")]
    assert (0, []) == (done.returncode, said)
    found = json.loads(done.stdout)
    ways = ["pool", "anyio"]
    if method == "fork":
        assert dict.fromkeys(OBJECTS, "refused") == found["inherited"]
    else:
        ways.append("argument")
    for way in ways:
        for name in OBJECTS:
            assert found[f"{way} {name}"].startswith("TypeError: cannot pickle"), (way, name)
    assert 4 == found["processes"]  # this one, and one for each way
    assert ([], []) == (found["damaged"], found["notes"])
    sizes = [b"before", b"another", b"more", b"of a process", b"of a pool", b"of anyio", bytes(1_300_000)]
    assert sorted(map(len, sizes)) == found["blobs"]
