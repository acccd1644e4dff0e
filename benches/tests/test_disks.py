"""Rows of many small files run on fresh file systems, which are gone afterwards; where there are none, the row says so."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anyio
import pytest

from steelyard_bench._disks import KINDS, Disk, DiskError, fresh, refusal
from steelyard_bench._inside import mount_of
from steelyard_bench._model import Scale
from steelyard_bench._results import Report
from steelyard_bench._run import Plan, measure_rows

pytestmark = pytest.mark.anyio

SIZES = {"ext4": 24 << 20, "xfs": 310 << 20}
EVERYTHING = bool(os.environ.get("STEELYARD_ALL_PROGRAMS"))


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give a kind of file system that can be mounted here."""
    found: str = request.param

    async def try_it() -> None:
        async with fresh(Disk(tmp_path_factory.mktemp("disk"), SIZES[found]), found):
            pass

    try:
        anyio.run(try_it)
    except DiskError as error:
        (pytest.fail if EVERYTHING and os.geteuid() == 0 else pytest.skip)(str(error))
    return found


def is_clean(memory: Path) -> bool:
    """Whether nothing is mounted below a folder, and no device stands for a file in it."""
    devices = subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True).stdout
    return str(memory) not in Path("/proc/mounts").read_text() + devices


async def test_a_file_system_is_fresh_each_time_and_gone_afterwards(kind: str, memory: Path) -> None:
    disk = Disk(memory, SIZES[kind])
    for _ in range(2):
        async with fresh(disk, kind) as point:
            mount = await anyio.to_thread.run_sync(mount_of, point)
            assert mount is not None
            assert kind == mount.kind
            assert not await anyio.Path(point / "file").exists()
            await anyio.Path(point / "file").write_bytes(b"content")

    assert is_clean(memory)


async def test_a_cancelled_run_unmounts_it(kind: str, memory: Path) -> None:
    with anyio.CancelScope() as scope:
        async with fresh(Disk(memory, SIZES[kind]), kind):
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert is_clean(memory)


async def test_a_file_system_that_cannot_be_made_leaves_nothing(kind: str, memory: Path) -> None:
    with pytest.raises(DiskError, match="mkfs"):
        async with fresh(Disk(memory, 1 << 12), kind):
            pass

    assert is_clean(memory)


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_row_runs_on_each_of_them(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [kind for kind in KINDS if refusal(kind) is None]
    if kinds != list(KINDS):
        (pytest.fail if EVERYTHING and os.geteuid() == 0 else pytest.skip)("needs root, and both programs")
    ran: list[str | None] = []
    report = await _measure(memory, ran, images=True)

    assert [*KINDS] == ran == [row.filesystem for row in report.rows]
    assert [] == [row.weak for row in report.rows if row.weak]
    assert is_clean(memory)

    monkeypatch.setattr("steelyard_bench._disks._COMMANDS", {"ext4": ("mkfs.ext4", "-q"), "xfs": ("no-such-program",)})
    report = await _measure(memory, ran, images=True)

    assert ["ext4"] == [row.filesystem for row in report.rows]
    assert ["not measured on xfs: no-such-program is not installed"] == [row.weak for row in report.rows]


@pytest.mark.parametrize("images", [True, False])
async def test_a_row_that_cannot_have_one_runs_in_the_directory_and_says_so(
    memory: Path, monkeypatch: pytest.MonkeyPatch, images: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    report = await _measure(memory, [], images=images)

    (row,) = report.rows
    reason = "only root can mount a file system" if images else "--no-images"
    assert f"on the file system as it is, not on a fresh one: {reason}" == row.weak
    assert f"row 4: {row.weak}" in report.warnings
    assert row.filesystem is None


async def _measure(memory: Path, ran: list[str | None], *, images: bool) -> Report:
    async def on_start(*_: object) -> None:
        pass

    async def on_row(*_: object) -> None:
        pass

    plan = Plan(directory=memory, backend="", rows=(4,), rounds=1, scale=Scale(2048), peers=False, images=images)
    return await measure_rows(
        plan,
        on_start=on_start,
        on_row=on_row,
        watch=lambda step: None if ran and ran[-1] == step.filesystem else ran.append(step.filesystem),
    )
