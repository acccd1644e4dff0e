"""Signals that interrupt system calls: a handler without SA_RESTART, thousands of times, and never an error."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_HANG_SECONDS = 120

_SCRIPT = textwrap.dedent("""
    import os, pathlib, signal, sys, time
    import anyio
    from steelyard import LocalStore, images
    from support.make_archives import saved, tar

    scratch, backend = pathlib.Path(sys.argv[1]), sys.argv[2]
    archive, source = scratch / "archive.tar", scratch / "source"
    archive.write_bytes(tar(saved([os.urandom(300_000)], "example.com/image:1")))
    hits = 0

    def hit(number, frame):
        global hits
        hits += 1

    async def main():
        rounds = 0
        end = time.monotonic() + 2
        async with LocalStore(scratch / "store") as store:
            while time.monotonic() < end or not rounds:
                source.write_bytes(os.urandom(300_000))
                put = await store.put(source, labels={"a": "b"})
                async with store.writer("ref") as writer:
                    await writer.write(os.urandom(100_000))
                    written = await writer.commit()
                await store.verify(put.digest)
                assert len(await store.get(put.digest)) == 300_000
                result = await images.import_images(store, archive)
                await images.export_images(store, scratch / "out.tar", ["example.com/image:1"], overwrite=True)
                async for info in store.walk():
                    await store.delete(info.digest)
                rounds += 1
        return rounds

    signal.signal(signal.SIGALRM, hit)
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        print(anyio.run(main, backend=backend), "rounds", hits, "signals")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert hits
""")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_signals_interrupt_nothing(backend: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path), backend],
        capture_output=True,
        text=True,
        timeout=_HANG_SECONDS,
        check=False,
        env=os.environ | {"STEELYARD_ALLOW_DEBUG": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    print(ended.stdout)

    assert ended.returncode == 0, ended.stderr
