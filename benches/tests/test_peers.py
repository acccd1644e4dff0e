"""Every peer that is there does its work whole; every one that is not says why."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
import pytest

from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Payload
from steelyard_bench._peers import peer_goals, reading, same, storing, verifying
from steelyard_bench._peers._packages import _obstore
from steelyard_bench._peers._shape import needs_package, needs_program

pytestmark = pytest.mark.anyio

FEW = Payload(count=3, size=70_000)
MANY = Payload(count=256, size=100)


def _id(contestant: Contestant[list[Path]]) -> str:
    return contestant.name


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    paths = [folder / f"{number:03}" for number in range(MANY.count)]
    for path in paths:
        path.write_bytes(os.urandom(MANY.size))
    return paths


@pytest.fixture(scope="module", autouse=True)
def runtime_of_obstore(files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Start what obstore never ends, before the guard against leaks looks."""
    if importlib.util.find_spec("obstore") is not None:
        _obstore(files[0], tmp_path_factory.mktemp("obstore"))


def _contents(folder: Path) -> set[str]:
    """Digests of all plain files in a folder."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


async def _skip_unless_there(contestant: Contestant[list[Path]]) -> None:
    if contestant.missing is not None and (reason := await run(contestant.missing)):
        pytest.skip(reason)


async def _take_turn(contestant: Contestant[list[Path]], files: list[Path], place: Path) -> None:
    await _skip_unless_there(contestant)
    async with contestant.start(files, place) as work:
        done = work()
        if done is not None and not isinstance(done, Mapping):
            await done


@pytest.mark.slow
@pytest.mark.parametrize("contestant", storing(FEW, same), ids=_id)
async def test_a_peer_stores_every_large_file(
    contestant: Contestant[list[Path]], files: list[Path], memory: Path
) -> None:
    await _take_turn(contestant, files[: FEW.count], memory)

    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in files[: FEW.count]} <= _contents(memory)


@pytest.mark.slow
@pytest.mark.parametrize("contestant", storing(MANY, same), ids=_id)
async def test_a_peer_stores_its_share_of_many_files(
    contestant: Contestant[list[Path]], files: list[Path], memory: Path
) -> None:
    await _take_turn(contestant, files, memory)

    stored = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files} & _contents(memory)
    assert contestant.share == len(stored) / MANY.count


@pytest.mark.parametrize("contestant", verifying(FEW, same), ids=_id)
async def test_a_peer_hashes_files_and_writes_nothing(
    contestant: Contestant[list[Path]], files: list[Path], memory: Path
) -> None:
    await _take_turn(contestant, files[: FEW.count], memory)

    assert contestant.durable is None
    assert set() == _contents(memory)


async def test_a_peer_fills_the_memory(files: list[Path], memory: Path) -> None:
    buffer = bytearray(MANY.size)
    for contestant in reading(same, lambda _: buffer):
        buffer[:] = bytes(MANY.size)

        await _take_turn(contestant, files, memory)

        assert files[0].read_bytes() == buffer


def test_a_peer_that_is_not_there_says_what_to_do() -> None:
    assert "not installed: pip install no-such-thing" == needs_package("no_such_thing", "no-such-thing")()
    assert "no-such-thing is not installed" == needs_program("no-such-thing")()
    assert needs_program("cp")() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="is root")
def test_a_program_for_root_is_not_run_by_others() -> None:
    assert "cp works as root only" == needs_program("cp", root=True)()


def test_every_peer_says_what_it_leaves_out() -> None:
    peers = [*storing(FEW, same), *storing(MANY, same), *verifying(FEW, same)]

    assert all(peer.note for peer in peers)
    assert all("no sync" in peer.note for peer in peers if peer.durable is False)


def test_the_goals_are_about_packages_that_do_not_sync_and_about_containerd() -> None:
    goals = {goal.to: goal.at_most for goal in peer_goals("ours", storing(MANY, same), times_ctr=40)}

    packages: Sequence[str] = ("plain Python, unsynced", "aiofiles", "obstore", "dvc-objects", "hashfs")
    assert goals == dict.fromkeys(packages, 1.0) | {"ctr images import": 1 / 40}


async def test_containerd_ends_with_the_round(files: list[Path], memory: Path) -> None:
    """Also one that is cancelled; its socket goes too."""
    ingest = next(peer for peer in storing(FEW, same) if peer.name == "ctr content ingest")
    await _skip_unless_there(ingest)
    before = _daemons()

    with anyio.CancelScope() as scope:
        async with ingest.start(files, memory):
            [command] = _daemons() - before
            scope.cancel()
            await anyio.lowlevel.checkpoint()

    socket = Path(command.split()[-1]).parent
    assert set() == _daemons() - before
    assert not _exists(socket)


def _exists(path: Path) -> bool:
    return path.exists()


def _daemons() -> set[str]:
    """Command lines of the containerds that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if line.startswith("containerd --config"):
            found.add(line.strip())
    return found
