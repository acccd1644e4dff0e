"""The comparison of trees with other programs: what it prints, and that it leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard_bench.checkouts import main


def test_the_ways_are_measured_and_nothing_is_left(
    tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        (tmp_path / f"{number}").write_text(f"file {number}")
    (tmp_path / "link").symlink_to("1")

    assert 0 == main([str(tmp_path), "--rounds", "1", "--directory", str(memory)])

    out = capsys.readouterr().out
    assert out.startswith("20 files, 130 B; ")
    named = [line.split(" | ")[0] for line in out.splitlines()]
    assert {"| put_tree, unchanged", "| find -printf", "| checkout", "| cp -r --reflink=never"} <= set(named)
    assert "| put_tree, unchanged, find -printf" in named
    assert "| checkout, cp -r --reflink=never" in named
    assert [] == list(memory.iterdir())
