"""Archives as streams and files: one pass, an index, links, compression, and what a refusal says."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import os
import tarfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.archives import LIMITS, contents, pieces, repeated

from steelyard._archive import (
    Compressed,
    Decompressed,
    Entry,
    Member,
    TarIndex,
    TarStream,
    copy_hashed,
    copy_range,
    layout,
    padding,
)
from steelyard._archive._layout import END
from steelyard._runtime import calls
from steelyard.errors import DataCorrupt, InvalidArchive, InvalidArgument, LimitExceeded, StorageError

pytestmark = pytest.mark.anyio


def archive(files: dict[str, bytes]) -> bytes:
    """An archive of our own making."""
    planned = layout(Member(name, len(data)) for name, data in files.items())
    parts = [
        place.header + data + bytes(padding(len(data)))
        for place, data in zip(planned.places, files.values(), strict=True)
    ]
    return b"".join([*parts, END])


FILES = {"oci-layout": b"{}", "blobs/sha256/" + "a" * 64: os.urandom(3000), "index.json": b"[]"}


async def test_a_stream_gives_entries_and_their_data() -> None:
    found = await contents(archive(FILES), 700)

    assert FILES == {entry.name: data for entry, data in found}
    assert [0, 1, 2] == [entry.index for entry, _ in found]


async def test_data_that_is_not_asked_for_is_passed_over() -> None:
    stream = TarStream(pieces(archive(FILES), 100), **LIMITS)
    async for entry in stream:
        if entry.size > 1000:
            data = stream.data()
            await anext(data)  # a part of it

    with pytest.raises(StopAsyncIteration):
        await anext(data)
    assert "index.json" == entry.name


async def test_an_index_is_what_a_stream_gives(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive(FILES))

    with (tmp_path / "a.tar").open("rb") as file:
        file.seek(5)
        index = TarIndex(file.fileno(), **LIMITS)
        assert [] == await repeated(index)
        assert 5 == file.tell()

    streamed = [entry for entry, _ in await contents(archive(FILES))]
    assert streamed == [index.find(name) for name in FILES]
    (blob,) = itertools.chain.from_iterable(index.files_below("blobs"))
    assert blob == streamed[1]
    assert index.find("blobs") is None
    assert FILES[blob.name] == (tmp_path / "a.tar").read_bytes()[blob.data_offset : blob.data_offset + blob.size]


async def test_an_index_of_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        TarIndex(10_000, **LIMITS)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        index = TarIndex(directory, **LIMITS)
        with pytest.raises(StorageError, match="Is a directory"):
            await index.step()
    finally:
        os.close(directory)


async def test_a_refusal_names_the_entry_and_says_what_was_expected() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("fine"))
        tar.addfile(tarfile.TarInfo("../evil"))

    with pytest.raises(InvalidArchive) as refused:
        await contents(buffer.getvalue())

    error = refused.value
    assert ("../evil", 'a name without ".."', '"../evil"', 512) == (
        error.entry,
        error.expected,
        error.actual,
        error.offset,
    )


async def test_errors_of_limits_have_their_names() -> None:
    stream = TarStream(pieces(archive(FILES)), entries=2, header_bytes=1)

    with pytest.raises(LimitExceeded) as refused:
        [entry async for entry in stream]

    assert ("entries", 2) == (refused.value.limit, refused.value.allowed)


async def test_an_archive_that_ends_early_is_refused_with_its_entry() -> None:
    with pytest.raises(InvalidArchive, match=r"blobs/sha256/a+.*more bytes of data.*the end of the input"):
        await contents(archive(FILES)[:3000])
    with pytest.raises(InvalidArchive, match="expected another entry, or two zero blocks for the end"):
        await contents(archive(FILES)[:1024])


def tar_of(links: list[tuple[str, str | None]]) -> bytes:
    """Return an archive of files and, where there is a target, links."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, target in links:
            entry = tarfile.TarInfo(name)
            if target is not None:
                entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()


async def both(data: bytes, tmp_path: Path) -> tuple[TarStream, TarIndex, list[Entry]]:
    """Return an archive as a stream that was read and as an index, and the entries that come again."""
    stream = TarStream(pieces(data), **LIMITS)
    again = [entry async for entry in stream if entry.earlier is not None]
    (tmp_path / "a.tar").write_bytes(data)
    with (tmp_path / "a.tar").open("rb") as file:
        index = TarIndex(file.fileno(), **LIMITS)
        assert again == await repeated(index)
    return stream, index, again


async def test_repeated_names_are_reported(tmp_path: Path) -> None:
    stream, index, again = await both(tar_of([("a", None), ("b", None), ("./a", None)]), tmp_path)

    assert [("a", 2, 0)] == [(entry.name, entry.index, entry.earlier) for entry in again]
    for reader in (stream, index):
        found = reader.find("a")
        assert found is not None
        assert (0, None) == (found.index, found.earlier)


async def test_links_are_followed_within_the_archive(tmp_path: Path) -> None:
    links = [("a", "b"), ("b", "c"), ("c", None), ("x", "y"), ("p", "q"), ("q", "p"), ("r", "p")]

    for reader in (await both(tar_of(links), tmp_path))[:2]:
        for name in "abc":
            found = reader.resolve(name)
            assert found is not None
            assert "c" == found.name
        assert reader.resolve("gone") is None
        with pytest.raises(InvalidArchive, match="'x': expected an entry \"y\" for its link, found none"):
            reader.resolve("x")
        for name in "pqr":
            with pytest.raises(InvalidArchive, match="a circle of links"):
                reader.resolve(name)


async def test_an_input_that_is_no_archive_is_reported_as_such() -> None:
    for data in (b"", b"text", b"text" * 1000, b"PK\x03\x04" + bytes(2000)):
        with pytest.raises(InvalidArchive, match=r"^archive at byte 0: expected a tar archive, plain or in gzip"):
            await contents(data)
    with pytest.raises(InvalidArchive, match="bzip2, which is not supported: decompress it first"):
        await contents(bz2.compress(tar_of([("a", None)])))


async def test_xz_may_be_padded() -> None:
    whole = lzma.compress(tar_of([("a", None)]))

    assert ["a"] == [entry.name for entry, _ in await contents(whole + bytes(4096), 100)]
    with pytest.raises(InvalidArchive, match="no multiple of four"):
        await contents(whole + bytes(5))


COMPRESSED = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("size", [1, 5, 7, 1 << 20])
@pytest.mark.parametrize("name", COMPRESSED)
async def test_the_outer_compression_is_found_by_content(name: str, size: int) -> None:
    data = archive({"a": b"x"})
    stream = Decompressed(pieces(COMPRESSED[name](data), size))
    assert stream.format is None

    out = b"".join([bytes(piece) async for piece in stream])

    assert data == out
    assert name == stream.format


@pytest.mark.parametrize("data", [b"", b"x", b"\x1f", b"12345"])
async def test_what_is_too_short_for_a_format_is_plain(data: bytes) -> None:
    stream = Decompressed(pieces(data))

    assert data == b"".join([bytes(piece) async for piece in stream])
    assert "plain" == stream.format


async def test_a_compressed_stream_that_ends_early_or_goes_on_is_refused() -> None:
    whole = gzip.compress(archive(FILES))
    for broken in (whole[:-1], whole[:20], whole + b"\0", whole + b"x"):
        with pytest.raises(InvalidArchive, match="one or more whole gzip streams"):
            await contents(broken)


async def test_a_bomb_is_refused_by_its_ratio() -> None:
    bomb = gzip.compress(bytes(8 << 20))

    with pytest.raises(LimitExceeded, match="over the limit ratio: at most 100 allowed"):
        [piece async for piece in Decompressed(pieces(bomb), ratio=100)]
    stream = Decompressed(pieces(bomb), ratio=100)
    stream.lift_ratio()
    assert 8 << 20 == sum([piece.nbytes async for piece in stream])


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
async def test_compression_gives_the_same_bytes_however_it_is_fed(compression: Literal["gzip", "zstd"]) -> None:
    data = b"".join(b"%d weighed\n" % number for number in range(50_000))

    async def compressed(size: int) -> bytes:
        return b"".join([bytes(piece) async for piece in Compressed(pieces(data, size), compression)])

    whole = await compressed(len(data))
    assert whole == await compressed(10_000)
    assert whole == await compressed((1 << 20) + 1)
    assert data == b"".join([bytes(piece) async for piece in Decompressed(pieces(whole, 12345))])


async def test_gzip_of_nothing_is_a_stream() -> None:
    out = b"".join([bytes(piece) async for piece in Compressed(pieces(b""), "gzip")])

    assert b"" == gzip.decompress(out)


async def test_levels_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="gzip level 10: 1 to 9 are known"):
        Compressed(pieces(b""), "gzip", level=10)
    assert zlib.decompress(
        b"".join([bytes(piece) async for piece in Compressed(pieces(b"x" * 99), "gzip", level=9)]), 31
    ) == (b"x" * 99)


async def test_a_cancelled_read_ends_the_stream() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield gzip.compress(b"x" * 100)[:10]
        await anyio.sleep_forever()

    stream = Decompressed(slow())
    with anyio.move_on_after(0.01):
        await anext(stream)

    with pytest.raises(anyio.ClosedResourceError):
        await anext(stream)


async def test_ranges_are_copied_between_files(tmp_path: Path) -> None:
    data = os.urandom((calls.CALL_BYTES * 2) + 777)
    (tmp_path / "source").write_bytes(b"head" + data)
    (tmp_path / "target").write_bytes(b"")
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("r+b") as target:
        await copy_range(source.fileno(), 4, target.fileno(), 10, len(data))

        assert bytes(10) + data == (tmp_path / "target").read_bytes()
        with pytest.raises(DataCorrupt, match="expected 100 bytes, found 50 bytes"):
            await copy_range(source.fileno(), len(data) + 4 - 50, target.fileno(), 0, 100)
        with pytest.raises(StorageError):
            await copy_range(source.fileno(), 0, source.fileno(), 0, 10)


async def test_ranges_are_hashed_as_they_are_copied(tmp_path: Path) -> None:
    data = os.urandom((3 << 20) + 777)
    (tmp_path / "source").write_bytes(b"head" + data)
    (tmp_path / "target").write_bytes(b"")
    reported: list[int] = []
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("r+b") as target:
        places = ((source.fileno(), 4), (target.fileno(), 10))
        for algorithm, size in (("sha256", len(data)), ("sha512", 777), ("sha256", 0)):
            found = await copy_hashed(*places, size, algorithm, report=reported.append)

            assert hashlib.new(algorithm, data[:size]).hexdigest() == found
        assert bytes(10) + data == (tmp_path / "target").read_bytes()
        assert reported[-1] == 0
        assert len(data) in reported
        with pytest.raises(DataCorrupt, match="expected 100 bytes, found 50 bytes"):
            await copy_hashed((source.fileno(), len(data) + 4 - 50), (target.fileno(), 0), 100, "sha256")
        with pytest.raises(StorageError):
            await copy_hashed((source.fileno(), 0), (source.fileno(), 0), 10, "sha256")


async def test_ranges_are_copied_where_the_kernel_does_not_copy(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    memory = os.memfd_create("source")
    try:
        os.write(memory, b"x" * 5000)
        with (tmp_path / "target").open("r+b") as target:
            await copy_range(memory, 1000, target.fileno(), 1, 4000)
    finally:
        os.close(memory)

    assert b"\0" + b"x" * 4000 == (tmp_path / "target").read_bytes()


def test_a_layout_refuses_what_it_cannot_write() -> None:
    for members in ([Member("a"), Member("a")], [Member("../a")], [Member("a", 5, directory=True)], [Member("/a")]):
        with pytest.raises(InvalidArgument, match="archive member"):
            layout(members)


NAMES = st.text(st.sampled_from("ab/.é-"), min_size=1, max_size=150)


@given(
    files=st.dictionaries(NAMES, st.binary(max_size=1500), max_size=5),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    size=st.integers(1, 3000),
)
def test_what_python_writes_is_read_or_refused_by_name(files: dict[str, bytes], form: int, size: int) -> None:
    buffer = io.BytesIO()
    written = {}
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            try:
                tar.addfile(member, io.BytesIO(data))
            except ValueError:  # too long for ustar
                continue
            written[name] = data

    async def read() -> list[tuple[Entry, bytes]]:
        return await contents(buffer.getvalue(), size)

    plain = {name: "/".join(part for part in name.split("/") if part not in {"", "."}) for name in written}
    bad = [name for name in written if name[0] == "/" or ".." in name.split("/") or name[-1] == "/" or not plain[name]]
    if bad:
        with pytest.raises(InvalidArchive):
            anyio.run(read)
        return
    assert [(plain[name], data) for name, data in written.items()] == [
        (entry.name, data) for entry, data in anyio.run(read)
    ]
