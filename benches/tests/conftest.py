"""Where the rounds write, and the machine that they are on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# A debug build of the extension warns when it is imported. Tests may run on one; measurements may not.
os.environ.setdefault("STEELYARD_ALLOW_DEBUG", "1")

from steelyard_bench._machine import Machine, look  # after what it reads


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every async test on both backends."""
    backend: str = request.param
    return backend


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory whose syncs cost nothing, where there is one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return look(Path(__file__).parent)
