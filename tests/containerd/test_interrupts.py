"""Ctrl-C in a client of a service in another process, on each event loop; see `interrupted_remote.py`.

By default a few steps of each piece of work are tried; `STEELYARD_INTERRUPTS=all` tries every step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

from steelyard.containerd import RemoteStore

from .serving import serving

PROGRAM = Path(__file__).with_name("interrupted_remote.py")
SERVER = Path(__file__).with_name("interrupted_server.py")
ALL = os.environ.get("STEELYARD_INTERRUPTS") == "all"

SPARE = 4
"""Descriptors more than after the first call that are no leak: one left by each interruption would be many more."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if ALL else 300)]


async def use(address: str) -> None:
    async with RemoteStore(address) as store, store.writer("first") as writer:
        await writer.write(b"bytes")
        assert await store.get((await writer.commit()).digest) == b"bytes"


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_ctrl_c_at_any_step_of_a_client_leaves_the_service_whole(backend: str, short_path: Path) -> None:
    if backend == "uvloop":
        pytest.importorskip("uvloop")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "STEELYARD_ALLOW_DEBUG": "1"}
    with serving(short_path) as service:
        anyio.run(use, service.address)  # what a service opens once and keeps
        before = service.descriptors
        command = [sys.executable, str(PROGRAM), backend, service.address, "0" if ALL else "4"]
        run = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=3000 if ALL else 250
        )
        assert run.returncode == 0, run.stderr[-5000:]
        end = time.monotonic() + 60
        while service.descriptors > before + SPARE and time.monotonic() < end:
            time.sleep(0.05)  # it may be about to close what the last client had open
        assert service.descriptors <= before + SPARE

    counts: dict[str, tuple[int, int]] = json.loads(run.stdout)
    assert len(counts) == 4
    for name, (runs, ended) in counts.items():
        assert runs >= 4
        assert ended > runs // 2, name


@pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])
def test_ctrl_c_at_any_step_of_a_server_leaves_nothing_open(backend: str, short_path: Path) -> None:
    if backend == "uvloop":
        pytest.importorskip("uvloop")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "STEELYARD_ALLOW_DEBUG": "1"}
    command = [sys.executable, str(SERVER), backend, str(short_path / "socket"), "0" if ALL else "8"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=3000)

    assert run.returncode == 0, run.stderr[-5000:]
    runs, ended = json.loads(run.stdout)
    assert runs >= 8
    assert ended > runs // 2
