"""Named pipes whose other end is not open: a wait for it can be cancelled."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from steelyard import MemoryStore, digest_of
from steelyard.cli import stdio
from steelyard.images import import_images

pytestmark = pytest.mark.anyio

CALLS: dict[str, Callable[[Path], Awaitable[object]]] = {
    "digest_of": digest_of,
    "import_images": lambda path: import_images(MemoryStore(), path),
    "open_special": stdio.open_special,
}


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("name", CALLS)
async def test_a_wait_for_the_other_end_is_cancelled(name: str, pipe: Path) -> None:
    with anyio.move_on_after(0.1) as scope:
        await CALLS[name](pipe)

    assert scope.cancelled_caught


async def test_the_digest_of_what_is_written_into_a_pipe(pipe: Path) -> None:
    found = []

    async def read() -> None:
        found.append(await digest_of(pipe))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.to_thread.run_sync(pipe.write_bytes, b"through the pipe", abandon_on_cancel=True)

    assert [await digest_of(b"through the pipe")] == found


async def test_a_pipe_opens_to_write_when_its_reader_comes(pipe: Path) -> None:
    found = []

    async def write() -> None:
        file = await stdio.open_special(pipe)
        await stdio.write(b"through the pipe", file.fileno())
        file.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        found.append(await anyio.to_thread.run_sync(pipe.read_bytes, abandon_on_cancel=True))

    assert [b"through the pipe"] == found
