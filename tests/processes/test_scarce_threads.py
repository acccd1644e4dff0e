"""Few threads or none: every call works or raises StorageError, and a panic in native work is an error of one await.

`STEELYARD_THREADS_LONG=1` tries every limit from 0 to 8 on both backends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import anyio
import pytest
from objects import servers
from objects.s3 import KEYS

from steelyard import LocalStore, _native
from steelyard._runtime.calls import run

pytestmark = pytest.mark.anyio

_CASES = [(0, "asyncio"), (1, "trio"), (2, "asyncio"), (4, "trio")]
if os.environ.get("STEELYARD_THREADS_LONG"):
    _CASES = [(limit, backend) for limit in range(9) for backend in ("asyncio", "trio")]
_HANG_SECONDS = 120

_SCRIPT = Path(__file__).with_name("scarce_threads.py")


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "backend"), _CASES)
def test_with_so_many_more_threads_every_call_works_or_is_refused(limit: int, backend: str) -> None:
    # Not pytest's directory, which no other user may enter.
    with tempfile.TemporaryDirectory() as scratch:
        attempt(limit, scratch, backend)


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "backend"), [(0, "trio"), (3, "asyncio"), (5, "trio"), (6, "asyncio"), (8, "trio")])
def test_a_store_in_a_bucket_with_so_many_more_threads(limit: int, backend: str, tmp_path: Path) -> None:
    """Its requests have three threads from the beginning; tokio would panic without the first one, and wait for ever without the others."""
    with tempfile.TemporaryDirectory() as scratch, servers.versitygw(tmp_path) as url:
        address = f"s3://bucket/{limit}?endpoint={url}"
        out = attempt(limit, scratch, backend, environment=KEYS | {"BUCKET": address, "HOME": scratch})

    said = "the store is not opened" if limit < 4 else "worked, failed"
    assert said in out, out


def attempt(
    limit: int, scratch: str, backend: str, *cgroup: Path, environment: Mapping[str, str] = MappingProxyType({})
) -> str:
    # Where it hangs, SIGABRT says in which calls.
    command = [sys.executable, "-X", "faulthandler", str(_SCRIPT), str(limit), scratch, backend, *map(str, cgroup)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment
    ) as process:
        try:
            out, _ = process.communicate(timeout=_HANG_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)
            out, _ = process.communicate()
            pytest.fail(f"it hangs:\n{out}")
    print(out)

    assert process.returncode == 0, out
    assert "panicked" not in out
    return out


def _panic() -> None:
    raise _native.PanicException("on purpose")


async def test_a_panic_ends_its_own_await_and_nothing_else(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        async with LocalStore(tmp_path) as store:
            for _ in range(3):
                with pytest.raises(RuntimeError, match="native code has panicked: on purpose"):
                    await run(_panic)
            put = await store.put(b"afterwards")
            assert b"afterwards" == await store.get(put.digest)


async def test_a_panic_in_a_shared_trip_ends_every_await_of_it() -> None:
    def together(items: list[object]) -> list[object]:
        raise _native.PanicException(f"{len(items)} items")

    batcher = _native.Batcher(together, most=8, most_bytes=1 << 20, at_once=1)
    errors: list[RuntimeError] = []

    async def one(item: object) -> None:
        try:
            await run(batcher, item, 1)
        except RuntimeError as error:
            errors.append(error)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for item in range(20):
                group.start_soon(one, item)

    assert 20 == len(errors)
