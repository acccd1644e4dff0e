"""Bytes that a writer behind a service has synced survive a kill of the service."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from foreign.programs import COMMAND, environment

from steelyard.containerd import RemoteStore

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("size", [1, 9 << 20])
async def test_synced_bytes_survive_a_kill_of_the_service(tmp_path: Path, size: int) -> None:
    socket = tmp_path / "s"
    words = [*COMMAND, "serve", "containerd", "--store", str(tmp_path / "store"), "--address", str(socket)]
    offsets = []
    for _ in range(2):
        with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE) as service:  # noqa: ASYNC220
            assert service.stderr is not None
            service.stderr.readline()  # it serves
            async with RemoteStore(str(socket)) as store:
                writer = await store.writer("ref")
                offsets.append(writer.offset)
                await writer.write(os.urandom(size))
                await writer.sync()
                service.kill()
                await writer.aclose()

    assert [0, size] == offsets
