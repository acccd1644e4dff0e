"""Every document of an image is parsed once in an operation, and read once from a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.archives import pieces
from support.make_archives import layout, tar
from support.make_images import INDEX, MANIFEST, encode, named, root_of

from steelyard import Descriptor, Digest, MemoryStore, ReaderAt
from steelyard.content import opening
from steelyard.images import (
    ImagesOf,
    MemoryLayout,
    Naming,
    OCIDescriptor,
    Platforms,
    check,
    convert,
    export_images,
    import_images,
    parse,
)

pytestmark = pytest.mark.anyio

NAME = "docker.io/demo/app:1"
DOCKER = "application/vnd.docker."
AMD64 = Platforms("linux/amd64")

CONFIG = encode(
    {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [named(b"layer")["digest"]]},
    }
)
IMAGE = encode(
    {
        "schemaVersion": 2,
        "mediaType": f"{DOCKER}distribution.manifest.v2+json",
        "config": named(CONFIG, f"{DOCKER}container.image.v1+json"),
        "layers": [named(b"layer", f"{DOCKER}image.rootfs.diff.tar")],
    }
)
BARE = encode({"schemaVersion": 2, "config": named(CONFIG, f"{DOCKER}container.image.v1+json"), "layers": []})
TOP = encode(
    {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            named(
                IMAGE,
                f"{DOCKER}distribution.manifest.v2+json",
                platform={"os": "linux", "architecture": "amd64"},
            ),
            named(BARE, MANIFEST, platform={"os": "linux", "architecture": "arm64"}),
        ],
    }
)
LAYOUT = tar(
    layout(
        encode(
            {
                "schemaVersion": 2,
                "manifests": [named(TOP, INDEX, annotations={"io.containerd.image.name": NAME})],
            }
        ),
        [CONFIG, IMAGE, BARE, TOP, b"layer"],
    )
)
SAVED = tar(
    [
        ("config.json", CONFIG),
        ("layer.tar", b"layer"),
        ("manifest.json", encode([{"Config": "config.json", "RepoTags": ["demo/app:1"], "Layers": ["layer.tar"]}])),
    ]
)


class Counting(MemoryStore):
    """A store that counts how often each blob is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Counter[str] = Counter()

    @opening
    async def reader_at(self, blob: Descriptor | Digest | str) -> ReaderAt:
        self.opened[str(Descriptor.of(blob).digest)] += 1
        return await super().reader_at(blob)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """Give a count of how often each document is parsed."""
    counts: Counter[bytes] = Counter()
    check_json = parse.check_json

    def count(raw: bytes, **options: Any) -> None:
        counts[raw] += 1
        check_json(raw, **options)

    monkeypatch.setattr(parse, "check_json", count)
    return counts


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("data", [LAYOUT, SAVED])
@pytest.mark.parametrize(
    "options",
    [{}, {"platforms": AMD64}, {"naming": Naming(index_name="docker.io/demo/all:1")}],
    ids=["plain", "platforms", "index"],
)
async def test_an_import_of_an_archive(
    parsed: Counter[bytes], tmp_path: Path, data: bytes, options: dict[str, Any], *, is_stream: bool
) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    async with Counting() as store:
        await import_images(store, pieces(data) if is_stream else tmp_path / "a.tar", **options)

        assert {1} == set(parsed.values())
        assert CONFIG in parsed
        assert all(store.opened[root_of(each).digest] <= 1 for each in (TOP, IMAGE, BARE))


async def test_an_import_of_nothing_but_what_images_need(parsed: Counter[bytes], tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(LAYOUT)
    async with Counting() as store:
        await import_images(store, tmp_path / "a.tar", platforms=AMD64, only_referenced=True)

        assert {1} == set(parsed.values())
        assert {TOP, IMAGE, CONFIG} <= parsed.keys()


async def test_an_import_from_another_store_or_layout(parsed: Counter[bytes]) -> None:
    async with Counting() as origin, Counting() as store, Counting() as last:
        await import_images(origin, pieces(LAYOUT))
        between = MemoryLayout()
        await export_images(origin, between, [NAME])
        for target, source in ((store, ImagesOf(origin, (NAME,))), (last, between)):
            parsed.clear()
            await import_images(target, source)

            assert {1} == set(parsed.values())
            assert {TOP, IMAGE, BARE, CONFIG} <= parsed.keys()
            assert all(target.opened[root_of(each).digest] == 1 for each in (TOP, IMAGE, BARE))


async def _check(store: Counting, _: Path) -> None:
    await check(store, NAME, platforms=AMD64)


async def _export(store: Counting, folder: Path) -> None:
    await export_images(store, folder / "a.tar", [NAME], platforms=AMD64)


async def _export_as_oci(store: Counting, folder: Path) -> None:
    await export_images(store, folder / "a.tar", [NAME], oci=True)


async def _export_to_a_layout(store: Counting, _: Path) -> None:
    await export_images(store, MemoryLayout(), [NAME, "docker.io/demo/app:2"])


async def _export_to_a_store(store: Counting, _: Path) -> None:
    async with MemoryStore() as target:
        await export_images(store, target, [NAME])


async def _export_by_digest(store: Counting, folder: Path) -> None:
    await export_images(store, folder / "a.tar", manifests=[root_of(TOP).digest])


async def _convert(store: Counting, _: Path) -> None:
    await convert(store, NAME, "docker.io/demo/oci:1")


@pytest.mark.parametrize(
    "operation",
    [_check, _export, _export_as_oci, _export_to_a_layout, _export_to_a_store, _export_by_digest, _convert],
)
async def test_an_operation_on_a_stored_image(
    parsed: Counter[bytes], tmp_path: Path, operation: Callable[[Counting, Path], Awaitable[None]]
) -> None:
    async with Counting() as store:
        await import_images(store, pieces(LAYOUT))
        await store.images.create("docker.io/demo/app:2", (await store.images.get(NAME)).target)
        parsed.clear()
        store.opened.clear()
        await operation(store, tmp_path)

        assert {1} == set(parsed.values())
        assert {TOP, IMAGE} <= parsed.keys()
        assert all(store.opened[root_of(each).digest] == 1 for each in (TOP, IMAGE))


async def test_edits_of_an_index(parsed: Counter[bytes]) -> None:
    edited = MemoryLayout()
    await edited.init()
    for number in range(5):
        entry = OCIDescriptor(media_type=INDEX, digest=root_of(b"%d" % number).digest, size=1)
        await edited.put_descriptor(entry, name=str(number))
        await edited.read_index()
    await edited.remove_descriptor("0")

    assert {1} == set(parsed.values())
    assert 4 == len((await edited.read_index()).view.children)


async def test_a_change_of_the_index_by_another_program_is_seen() -> None:
    edited = MemoryLayout()
    await edited.init()
    assert () == (await edited.read_index()).view.children
    edited.files["index.json"] = encode({"schemaVersion": 2, "manifests": [named(TOP, INDEX)]})
    assert 1 == len((await edited.read_index()).view.children)
