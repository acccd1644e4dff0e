"""The parts of the explorer: the log of the disk, the states that it builds, and the history of acknowledgements."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from powercut.checks import reached
from powercut.cuts import Image, choose
from powercut.disks import needs_whole
from powercut.history import Change, History, Record
from powercut.logged_disk import DISCARD, FLUSH, WRITE, Operation, read_log

SIZE = 16384


def write(offset: int, byte: bytes, size: int = 4096) -> Operation:
    return Operation(WRITE, offset, size, memoryview(byte * size))


FLUSHED = Operation(FLUSH, 0, 0, memoryview(b""))


def states(directory: Path, operations: list[Operation], at: int, count: int = 100) -> list[bytes]:
    image = directory / "image"
    image.write_bytes(b"." * SIZE)
    made, found = Image(image, operations), []
    for number in range(count):
        made.after(choose(operations, at, Random(number), lambda _: False), directory / "state")
        found.append((directory / "state").read_bytes())
    return found


def test_a_flushed_write_is_in_every_state(tmp_path: Path) -> None:
    found = states(tmp_path, [write(0, b"a"), FLUSHED, write(8192, b"b")], at=2)

    assert {bytes(state[:8193]) for state in found} == {b"a" * 4096 + b"." * 4097}


def test_later_writes_are_there_in_any_combination(tmp_path: Path) -> None:
    operations = [FLUSHED, write(0, b"a", 512), write(512, b"b", 512), write(1024, b"c", 512), write(0, b"z")]
    found = {bytes(state[:1536:512]) for state in states(tmp_path, operations, at=4)}

    assert found == {b"...", b"a..", b".b.", b"..c", b"ab.", b"a.c", b".bc", b"abc"}


def test_a_write_is_torn_between_sectors_only(tmp_path: Path) -> None:
    found = states(tmp_path, [write(0, b"a")], at=1)
    sectors = [state[start : start + 512] for state in found for start in range(0, 4096, 512)]

    assert any(len(set(state[:4096])) == 2 for state in found), "no state has a torn write"
    assert {len(set(sector)) for sector in sectors} == {1}


def test_the_later_of_two_writes_is_not_followed_by_the_earlier(tmp_path: Path) -> None:
    operations = [write(0, b"a"), FLUSHED, write(0, b"b"), FLUSHED, write(0, b"c", 512)]

    assert {state[:1] for state in states(tmp_path, operations, at=5)} == {b"b", b"c"}


def test_a_discarded_range_reads_as_zeros(tmp_path: Path) -> None:
    operations = [Operation(DISCARD, 4096, 4096, memoryview(b"")), FLUSHED]

    assert {state[4095:8193] for state in states(tmp_path, operations, at=2)} == {b"." + bytes(4096) + b"."}


def test_a_superblock_is_not_torn() -> None:
    whole = needs_whole("btrfs")

    assert whole(write(64 << 10, b"s"))
    assert not whole(write(68 << 10, b"d"))


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    from powercut.logged_disk import Disk  # noqa: PLC0415

    image, log, position = tmp_path / "image", tmp_path / "log", tmp_path / "position"
    image.write_bytes(bytes(SIZE))
    position.write_bytes(bytes(8))
    disk = Disk(str(image), str(log), str(position))
    try:
        disk.note(WRITE, 512, 3, b"abc")
        disk.note(FLUSH, 0, 0)
    finally:
        disk.close()

    found = list(read_log(memoryview(log.read_bytes())))
    assert [(entry.kind, entry.offset, bytes(entry.data)) for entry in found] == [(WRITE, 512, b"abc"), (FLUSH, 0, b"")]
    assert position.read_bytes() == (2).to_bytes(8, "little")
    assert os.path.getsize(image) == SIZE  # noqa: PTH202


def test_a_call_under_way_allows_the_value_before_it_and_the_one_after_it() -> None:
    history = History([Record(10, 20, [Change("name:a", "1")]), Record(20, 30, [Change("name:a", None, ["2"])])])

    assert history.allowed("name:a", 10) == [None]
    assert history.allowed("name:a", 15) == [None, "1"]
    assert history.allowed("name:a", 20) == ["1"]
    assert history.allowed("name:a", 25) == ["1", None, "2"]
    assert history.allowed("name:a", 30) == [None]
    assert history.allowed("name:b", 30) == [None]


def test_garbage_may_go_from_the_call_that_left_it_without_a_root_to_its_collection() -> None:
    key = "blob:a"
    records = [
        Record(0, 5, [Change(key, {})], store="collected"),
        Record(10, 20, [Change(key, {}, later=[None])], store="collected"),
        Record(30, 40, [Change(key, None)], store="collected"),
    ]
    history = History(records).of("collected")

    assert [history.allowed(key, at) for at in (10, 15, 20, 25)] == [[{}], [{}, {}, None], [{}, None], [{}, None]]
    assert None in history.allowed(key, 35)
    assert history.allowed(key, 40) == [None]
    assert History(records).of("store").keys("blob") == []


def test_a_document_that_is_gone_keeps_nothing_for_certain() -> None:
    history = History([Record(0, 1, [Change("parts:index", ["manifest"]), Change("parts:manifest", ["layer"])])])

    assert reached(history, {"index"}, {"index", "layer"}) == {"index", "manifest"}
    assert reached(history, {"index"}, None) == {"index", "manifest", "layer"}
