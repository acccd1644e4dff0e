"""Where the rounds write, and the machine that they are on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from steelyard.bench import (
    Machine,
)
from steelyard.bench._machine import look


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """Give a directory whose syncs cost nothing, where there is one."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return look(Path(__file__).parent)
