"""oras pulls our trees, and we check out what oras has pushed."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

import pytest

from .programs import Steelyard, run

pytestmark = pytest.mark.slow

ORAS = os.environ.get("STEELYARD_ORAS")


@pytest.fixture
def oras() -> str:
    """Give the program."""
    if ORAS is None:
        pytest.skip("STEELYARD_ORAS is not set: the path of oras, which .ci/run builds")
    return ORAS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a directory of more entries than one manifest has."""
    top = tmp_path / "source"
    for folder in range(60):
        (top / str(folder)).mkdir(parents=True)
        for number in range(80):
            (top / str(folder) / str(number)).write_text(f"{folder} {number % 50}")
    return top


def below(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.parametrize("part", [".", "7"], ids=["index", "manifest"])
def test_oras_pulls_the_very_files(ours: Steelyard, oras: str, source: Path, tmp_path: Path, part: str) -> None:
    (source / "7" / "link").symlink_to("1")
    (source / "7" / "empty").mkdir()
    ours("put", "-r", source / part, "--name", "demo/tree:1")
    ours("export", f"{tmp_path}/layout/", "demo/tree:1")
    run(oras, "pull", "--no-tty", "--oci-layout", f"{tmp_path}/layout:1", "--output", tmp_path / "pulled")

    files = below(source / part)
    assert len(files) == len(below(tmp_path / "pulled")) == (4800 if part == "." else 80)
    assert (files, [], []) == filecmp.cmpfiles(source / part, tmp_path / "pulled", files, shallow=False)


def test_we_check_out_what_oras_has_pushed(ours: Steelyard, oras: str, source: Path, tmp_path: Path) -> None:
    names = [f"{folder}/{number}" for folder in (3, 4) for number in range(80)]
    words = [f"{name}:text/plain" for name in names]
    run("env", "--chdir", source, oras, "push", "--no-tty", "--oci-layout", f"{tmp_path}/layout:1", *words)
    ours("import", tmp_path / "layout", "demo/pushed:1")
    ours("checkout", "demo/pushed:1", tmp_path / "out")

    assert sorted(names) == below(tmp_path / "out")
    assert (names, [], []) == filecmp.cmpfiles(source, tmp_path / "out", names, shallow=False)
