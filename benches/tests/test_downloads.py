"""The comparison of downloads with httpx2 alone: what it prints, and that it leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from steelyard_bench._nginx import available
from steelyard_bench.downloads import main

pytestmark = pytest.mark.skipif(
    available() is not None and not os.environ.get("STEELYARD_ALL_PROGRAMS"), reason="nginx is not installed"
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_downloads_are_measured_and_nothing_is_left(
    memory: Path, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    sizes = ["--files", "20", "--size", "3000000", "--rounds", "1"]

    assert 0 == main([*sizes, "--backend", backend, "--directory", str(memory)])

    out = capsys.readouterr().out
    assert out.startswith(f"20 files of 4 KiB, one of 2.9 MiB; {backend}; ")
    named = {line.split(" | ")[0] for line in out.splitlines()}
    assert {
        "| fetch_many",
        "| httpx2, many",
        "| fetch",
        "| fetch, one range",
        "| httpx2, large",
        "| H",
        "| put",
    } <= named
    assert "| fetch, the larger of 1.15 × httpx2, large and 1.3 × put" in named
    assert [] == list(memory.iterdir())
