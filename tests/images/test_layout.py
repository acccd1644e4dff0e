"""Image layouts: what a directory, memory and an archive have in common."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio.abc import ByteSendStream
from support.make_images import CONFIG, LAYER, MANIFEST, named, root_of

from steelyard import (
    DataCorrupt,
    Descriptor,
    Digest,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    UnexpectedDigest,
    UnexpectedSize,
)
from steelyard.errors import InvalidDocument, LimitExceeded, OutOfRange
from steelyard.images import Limits, walk_image
from steelyard.images.layout import REF_NAME, DirectoryLayout, LayoutDriver, MemoryLayout, TarLayout

pytestmark = pytest.mark.anyio


class Sink(ByteSendStream):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def send(self, item: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.data += item

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()

    def entries(self) -> dict[str, bytes]:
        with tarfile.open(fileobj=io.BytesIO(self.data)) as archive:
            return {
                member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
                for member in archive.getmembers()
                if member.isfile()
            }


@pytest.fixture(params=["memory", "directory", "tar"])
async def layout(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LayoutDriver]:
    match request.param:
        case "memory":
            yield MemoryLayout()
        case "directory":
            async with DirectoryLayout(tmp_path / "layout") as directory:
                yield directory
        case _:
            yield TarLayout(Sink())


@pytest.fixture(params=["memory", "directory"])
async def readable(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LayoutDriver]:
    if request.param == "memory":
        yield MemoryLayout()
        return
    async with DirectoryLayout(tmp_path / "layout") as directory:
        yield directory


async def put(
    layout: LayoutDriver, pieces: list[bytes], announced: dict[str, Any], claimed: dict[str, Any] | None = None
) -> Digest:
    async with layout.blob_writer(**announced) as writer:
        for piece in pieces:
            await writer.write(piece)
        return await writer.commit(**claimed or {})


def files_below(path: Path) -> list[Path]:
    return [each for each in path.rglob("*") if each.is_file()]


async def names(layout: LayoutDriver) -> list[str | None]:
    return [(each.annotations or {}).get(REF_NAME) for each in (await layout.read_index()).view.children]


async def test_a_new_layout_is_empty_and_of_version_1(layout: LayoutDriver) -> None:
    for call in (layout.read_layout, layout.read_index):
        with pytest.raises(NotFound):
            await call()
    await layout.init()

    assert "1.0.0" == (await layout.read_layout()).view.version
    assert () == (await layout.read_index()).view.children
    await layout.put_descriptor(root_of(b"a"), name="a")
    await layout.init()
    assert ["a"] == await names(layout)


async def test_what_is_no_layout_is_not_made_one(layout: LayoutDriver) -> None:
    await layout._write("oci-layout", b'{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(InvalidDocument):
        await layout.init()
    with pytest.raises(InvalidDocument):
        await layout.write_layout("3.0.0")
    await layout.write_layout("1.1.0")
    await layout.init()

    assert "1.1.0" == (await layout.read_layout()).view.version


async def test_a_descriptor_replaces_those_of_its_name(layout: LayoutDriver) -> None:
    await layout.init()
    await layout.put_descriptor(root_of(b"1"), name="one")
    await layout.put_descriptor(root_of(b"2"), name="two")
    await layout.put_descriptor(root_of(b"3"), name="one")
    await layout.put_descriptor(root_of(b"3"))
    await layout.put_descriptor(root_of(b"4"))
    await layout.put_descriptor(msgspec.structs.replace(root_of(b"3"), annotations={"a": "b"}))
    index = (await layout.read_index()).view

    assert ["two", "one", None, None] == await names(layout)
    assert [root_of(data).digest for data in (b"2", b"3", b"4", b"3")] == [each.digest for each in index.children]
    assert {"a": "b"} == index.children[3].annotations
    own = msgspec.structs.replace(root_of(b"5"), annotations={REF_NAME: "two"})
    await layout.put_descriptor(own)
    assert own == (await layout.read_index()).view.children[-1]
    assert ["one", None, None, "two"] == await names(layout)


async def test_a_name_is_removed_with_all_its_entries(layout: LayoutDriver) -> None:
    await layout.init()
    entry = named(b"1", MANIFEST, annotations={REF_NAME: "one"})
    await layout.write_index(
        json.dumps({"schemaVersion": 2, "manifests": [entry, entry, named(b"2", MANIFEST)]}).encode()
    )

    assert 2 == await layout.remove_descriptor("one")
    assert 0 == await layout.remove_descriptor("one")
    assert [None] == await names(layout)
    for call in (layout.remove_descriptor(""), layout.put_descriptor(root_of(b"1"), name="")):
        with pytest.raises(InvalidArgument):
            await call


async def test_editing_keeps_what_it_does_not_know(layout: LayoutDriver) -> None:
    await layout.init()
    entry = named(b"1", MANIFEST, new={"deep": [1]}, annotations={REF_NAME: "one"})
    raw = json.dumps({"schemaVersion": 2, "x": {"y": 1}, "manifests": [entry]}, indent=3).encode()
    await layout.write_index(raw)

    assert raw == (await layout.read_index()).raw
    assert 0 == await layout.remove_descriptor("other")
    assert raw == (await layout.read_index()).raw
    await layout.put_descriptor(root_of(b"2"), name="two")
    value = (await layout.read_index()).value()
    assert ({"y": 1}, entry) == (value["x"], value["manifests"][0])


async def test_an_index_that_is_none_or_too_large_is_not_written(layout: LayoutDriver) -> None:
    await layout.init()
    for raw in (b"{}", b"[]", b'{"schemaVersion":2,"manifests":[],"layers":[]}'):
        with pytest.raises(InvalidDocument):
            await layout.write_index(raw)
    layout.limits = Limits(json_bytes=300)
    await layout.put_descriptor(root_of(b"1"))
    with pytest.raises(LimitExceeded):
        await layout.put_descriptor(root_of(b"2"))

    layout.limits = Limits()
    large = {"schemaVersion": 2, "manifests": [named(b"1", MANIFEST)] * 1000}
    assert 1000 == len((await layout.write_index(json.dumps(large).encode())).view.children)
    assert large == (await layout.read_index()).value()
    await layout.write_index(json.dumps(large | {"manifests": large["manifests"][:1]}).encode())  # type: ignore[index]
    assert [root_of(b"1").digest] == [each.digest for each in (await layout.read_index()).view.children]


async def test_blobs_come_back_verified(readable: LayoutDriver) -> None:
    await readable.init()
    config = await readable.write_json({"os": "linux", "architecture": "amd64"}, CONFIG)
    layer = await readable.write_blob(b"layer", LAYER)
    manifest = await readable.write_json(
        {"schemaVersion": 2, "config": msgspec.to_builtins(config), "layers": [msgspec.to_builtins(layer)]}, MANIFEST
    )
    await readable.put_descriptor(manifest, name="it")
    async with aclosing(walk_image(readable, (await readable.read_index()).view.children[0])) as walk:
        found = [node.descriptor.digest async for node in walk]

    assert [manifest.digest, config.digest, layer.digest] == found
    async with readable.reader_at(layer.target) as reader:
        assert (layer.blob, 5) == (reader.digest, reader.size)
        assert (b"yer", b"") == (await reader.read_at(2, 100), await reader.read_at(5, 1))
        with pytest.raises(OutOfRange):
            await reader.read_at(6, 1)
        with pytest.raises(InvalidArgument):
            await reader.read_at(-1, 1)
        async with reader.stream() as stream:
            assert b"layer" == await stream.receive()
    await reader.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await reader.read_at(0, 1)
    with pytest.raises(DataCorrupt):
        await readable.reader_at(Descriptor(digest=layer.blob, size=6))


async def test_a_deleted_blob_is_gone(readable: LayoutDriver) -> None:
    digest = (await readable.write_blob(b"layer", LAYER)).blob
    await readable.delete_blob(str(digest))
    for call in (readable.delete_blob, readable.reader_at):
        with pytest.raises(NotFound):
            await call(digest)
    with pytest.raises(NotFound):
        await readable.reader_at("sha512:" + "0" * 128)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "blake3"])
async def test_a_blob_is_named_by_the_algorithm_asked_for(readable: LayoutDriver, algorithm: Any) -> None:
    async with readable.blob_writer(algorithm=algorithm) as writer:
        await writer.send(b"da")
        await writer.write(bytearray(b"ta"))
        assert 4 == writer.offset
        digest = await writer.commit(size=4)

    assert algorithm == digest.algorithm
    async with readable.reader_at(digest) as reader:
        assert b"data" == await reader.read_at(0, 4)
    with pytest.raises(anyio.ClosedResourceError):
        await writer.write(b"x")


async def test_a_blob_that_is_not_what_was_announced_leaves_nothing(readable: LayoutDriver, tmp_path: Path) -> None:
    wrong = Digest.parse("sha256:" + "0" * 64)
    right = root_of(b"data").blob
    announced: list[dict[str, Any]] = [{"size": 5}, {"expected": wrong}, {"size": 3}, {"size": 4, "expected": wrong}]
    for options in announced:
        with pytest.raises((UnexpectedSize, UnexpectedDigest)):
            await put(readable, [b"data"], options)
        with pytest.raises((UnexpectedSize, UnexpectedDigest)):
            await put(readable, [b"data"], {}, options)
    async with readable.blob_writer() as writer:
        await writer.write(b"data")
    for size in (-1, 1 << 63):
        with pytest.raises(InvalidArgument):
            await readable.blob_writer(size=size)

    for digest in (right, wrong):
        with pytest.raises(NotFound):
            await readable.reader_at(digest)
    assert [] == files_below(tmp_path)


async def test_an_archive_is_a_layout_that_others_read() -> None:
    sink = Sink()
    async with TarLayout(sink) as layout:
        await layout.init()
        layer = await layout.write_blob(b"layer", LAYER)
        empty = await layout.write_blob(b"", LAYER)
        again = await layout.write_blob(b"layer", LAYER)
        async with layout.blob_writer() as writer:
            for _ in range(3):
                await writer.write(b"x" * 400)
            spooled = await writer.commit()
        async with layout.blob_writer() as writer:
            await writer.write(b"x" * 1200)
            assert spooled == await writer.commit()
        async with layout.blob_writer(size=3, expected=root_of(b"abc").blob) as writer:
            for letter in (b"a", b"", b"b", b"c"):
                await writer.write(letter)
            streamed = await writer.commit(size=3)
        async with layout.blob_writer(size=1, expected=root_of(b"y").blob):
            pass  # nothing of it was written, so nothing is broken
        await layout.put_descriptor(layer, name="it")
        for call in (layout.reader_at, layout.delete_blob):
            with pytest.raises(FailedPrecondition):
                await call(layer.blob)

    def name(digest: Digest | str) -> str:
        return f"blobs/{str(digest).replace(':', '/')}"

    entries = sink.entries()
    assert layer == again
    assert [name(empty.digest), name(layer.digest), name(spooled), name(streamed)] == [
        each for each in (name(empty.digest), name(layer.digest), name(spooled), name(streamed)) if each in entries
    ]
    assert (b"layer", b"", b"x" * 1200, b"abc") == tuple(
        entries.pop(name(each)) for each in (layer.digest, empty.digest, spooled, streamed)
    )
    assert ["oci-layout", "index.json"] == list(entries)
    assert layer.digest == json.loads(entries["index.json"])["manifests"][0]["digest"]
    with pytest.raises(FailedPrecondition):
        await layout.write_blob(b"late", LAYER)


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (4, [b"dat"]),
        (4, [b"da", b"ta"]),
        (4, [b"data"]),
        (4, [b"d", b"a", b"t", b"a", b"!"]),
        (0, []),
        (1024, [b"x" * 512] * 2),
    ],
)
async def test_a_streamed_blob_that_is_wrong_breaks_the_archive_before_its_end(size: int, pieces: list[bytes]) -> None:
    sink = Sink()
    layout = TarLayout(sink)
    async with layout:
        await layout.init()
        await layout.write_blob(b"good", LAYER)
        before = len(sink.data)
        with pytest.raises((UnexpectedSize, UnexpectedDigest)):
            await put(layout, pieces, {"size": size, "expected": "sha256:" + "0" * 64})
        if pieces:
            for call in (layout.write_blob(b"more", LAYER), layout.finish(), layout.init()):
                with pytest.raises(FailedPrecondition, match="broken"):
                    await call
            # Not even all of its data is there.
            assert len(sink.data) < before + 512 + size
            with pytest.raises(tarfile.ReadError, match="unexpected end of data"):
                sink.entries()
        else:
            assert before == len(sink.data)
        layout._archive.state = "closed"


async def test_a_blob_left_half_way_breaks_the_archive() -> None:
    sink = Sink()
    layout = TarLayout(sink)
    await layout.init()
    async with layout.blob_writer(size=4, expected=root_of(b"data").blob) as writer:
        await writer.write(b"da")
    with pytest.raises(FailedPrecondition, match="broken"):
        await layout.finish()
    with pytest.raises(tarfile.ReadError):
        sink.entries()


async def test_an_archive_that_was_left_by_an_exception_has_no_end() -> None:
    sink = Sink()

    async def write() -> None:
        async with TarLayout(sink) as layout:
            await layout.init()
            await layout.write_blob(b"layer", LAYER)
            raise KeyError

    with pytest.raises(KeyError):
        await write()
    assert bytes(1024) != sink.data[-1024:]
    assert "index.json" not in sink.entries()


async def test_a_stream_that_fails_breaks_the_archive() -> None:
    class Full(Sink):
        async def send(self, item: Any) -> None:
            await super().send(item[:100])
            raise OSError("full")

    sink = Full()
    layout = TarLayout(sink)
    with pytest.raises(OSError, match="full"):
        await layout.write_blob(b"layer", LAYER)
    with pytest.raises(FailedPrecondition, match="broken"):
        await layout.write_blob(b"other", LAYER)


async def test_streamed_blobs_of_many_tasks_come_one_after_the_other() -> None:
    sink = Sink()
    blobs = [bytes([number]) * 1000 for number in range(8)]
    async with TarLayout(sink) as layout:
        await layout.init()

        async with anyio.create_task_group() as tasks:
            for number, data in enumerate(blobs):
                pieces = [data[start : start + 100] for start in range(0, len(data), 100)]
                known = {"size": len(data), "expected": root_of(data).blob} if number % 2 else {}
                tasks.start_soon(put, layout, pieces, known)

    assert sorted(blobs) == sorted(data for name, data in sink.entries().items() if name.startswith("blobs/"))
