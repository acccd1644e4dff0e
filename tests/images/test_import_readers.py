"""One archive has one meaning: as a file, as a compressed file and as a stream it gives the same images or is refused.

Archives are generated from whole ones with at most three changes: entries that go, move, come again, become links or other
bytes. They are written with several kinds of headers and ends, and with faults in a header (`support.tar_shapes`).
``ARCHIVE_READERS_EXAMPLES`` makes the search longer; docs/images.md says how.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archives import pieces
from support.make_archives import LAYOUT, Link, blob, tar
from support.make_images import CONFIG, MANIFEST, encode, named
from support.tar_shapes import Shape, shapes

from steelyard import MemoryStore, SteelyardError
from steelyard.images import import_images

EXAMPLES = int(os.environ.get("ARCHIVE_READERS_EXAMPLES", "150"))

Entries = list[tuple[str, bytes | Link]]
LAYERS = [b"layer", gzip.compress(b"layer", mtime=0), b"other"]
LAYER_NAMES = ["l.tar", "a/layer.tar", "x", "json", "manifest.json", "VERSION"]
NAMES = ["oci-layout", "index.json", "manifest.json", "c.json", *LAYER_NAMES, "blobs", "blobs/sha256", "new"]


def sha512(data: bytes) -> str:
    return f"sha512:{hashlib.sha512(data).hexdigest()}"


def config_of(layers: list[bytes], digest: Callable[[bytes], str] = lambda data: str(named(data)["digest"])) -> bytes:
    plain = [gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer for layer in layers]
    diffs = [digest(each) for each in plain]
    return encode({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diffs}})


@st.composite
def layouts(draw: st.DrawFn) -> Entries:
    """Give an OCI layout, perhaps one that names no image."""
    layers = draw(st.lists(st.sampled_from(LAYERS), max_size=2))
    config = config_of(layers)
    described = [named(layer) for layer in layers]
    value = {"schemaVersion": 2, "config": named(config, CONFIG), "layers": described}
    manifest = encode(value)
    entry = named(manifest, MANIFEST, annotations={"io.containerd.image.name": "docker.io/library/demo:1"})
    entries = draw(st.sampled_from([[entry], [entry, entry], [], None]))
    index = encode({"schemaVersion": 2, "manifests": entries})
    return [("oci-layout", LAYOUT), ("index.json", index), *map(blob, dict.fromkeys([manifest, config, *layers]))]


@st.composite
def saves(draw: st.DrawFn) -> Entries:
    """Give what `docker save` writes, in one of its shapes."""
    layers = draw(st.lists(st.sampled_from(LAYERS), max_size=2, unique=True))
    config = config_of(layers, draw(st.sampled_from([lambda data: str(named(data)["digest"])] * 3 + [sha512])))
    if draw(st.booleans()):
        places = [blob(layer) for layer in layers]
        place = blob(config)
    else:
        names = draw(st.lists(st.sampled_from(LAYER_NAMES), min_size=2, max_size=2, unique=True))
        places = list(zip(names, layers, strict=False))
        place = (draw(st.sampled_from(["c.json", f"{'c' * 64}.json"])), config)
    image = {"Config": place[0], "RepoTags": draw(st.sampled_from([None, ["demo:1"], ["demo:1", "two"]]))}
    manifest = encode([{**image, "Layers": [name for name, _ in places]}] * draw(st.integers(1, 2)))
    return [*places, place, ("manifest.json", manifest)]


@st.composite
def changes(draw: st.DrawFn, entries: Entries) -> Entries:
    """Give the entries with one change."""
    if not entries:
        return entries
    at = draw(st.integers(0, len(entries) - 1))
    name, content = entries[at]
    to = draw(st.integers(0, len(entries)))
    other = draw(st.sampled_from([name for name, _ in entries] + NAMES))
    new: tuple[str, bytes | Link] = draw(
        st.sampled_from(
            [
                (name, content),
                (name, b"others"),
                (other, content),
                (other, b"others"),
                (name, Link(other)),
                (other, Link(name)),
                ("blobs/sha256/" + "a" * 63, b"x"),
                ("blobs/sha256/" + "a" * 64, b"x"),
            ]
        )
    )
    way = draw(st.sampled_from(["move", "drop", "put", "put", "put", "replace", "replace", "link"]))
    rest = entries[:at] + entries[at + 1 :]
    match way:
        case "drop":
            return rest
        case "move":
            return [*rest[:to], (name, content), *rest[to:]]
        case "put":
            return [*entries[:to], new, *entries[to:]]
        case "replace":
            return [*entries[:at], new, *entries[at + 1 :]]
        case _:  # the file has another name, and a link leads there
            return [*entries[:at], (name, Link("../" * name.count("/") + "new")), *entries[at + 1 :], ("new", content)]


@st.composite
def archives(draw: st.DrawFn) -> tuple[Entries, int]:
    """Give the entries of an archive, and how many changes were made to it."""
    entries = draw(st.one_of(layouts(), saves(), st.tuples(layouts(), saves()).map(lambda pair: pair[0] + pair[1])))
    count = draw(st.integers(0, 3))
    for _ in range(count):
        entries = draw(changes(entries))
    return entries, count


async def verdict(source: Any) -> tuple[str, Any]:
    """Return what an import of a source gives, in a new store: images and their blobs, or the kind of refusal."""
    async with MemoryStore() as store:
        try:
            found = await import_images(store, source)
        except SteelyardError as error:
            return "refused", type(error)
        blobs = {str(image.target.digest): await store.get(image.target.digest) for image in found.images}
        return "images", ([(image.target, image.names, image.absent) for image in found.images], blobs)


async def verdicts(data: bytes, folder: Path) -> list[tuple[str, Any]]:
    (folder / "a.tar").write_bytes(data)
    (folder / "a.tar.gz").write_bytes(gzip.compress(data, 1))
    return [await verdict(source) for source in (folder / "a.tar", folder / "a.tar.gz", pieces(data, 700))]


@pytest.mark.slow
@pytest.mark.timeout(300 + EXAMPLES)
@settings(max_examples=EXAMPLES)
@given(archives(), shapes())
def test_every_reader_gives_the_same_verdict_and_images(given: tuple[Entries, int], shape: Shape) -> None:
    entries, count = given
    with TemporaryDirectory() as folder:
        found = anyio.run(verdicts, shape.write(entries), Path(folder))

    if count or shape.is_faulty:  # of several faults each reader may meet another one first
        found = [(kind, None if kind == "refused" else what) for kind, what in found]
    assert [found[0]] * 3 == found


LAYER_DIGEST = named(b"layer")["digest"]


def saved_with(config: bytes, *more: tuple[str, bytes | Link], layers: list[str] | None = None) -> bytes:
    names = ["l.tar"] if layers is None else layers
    manifest = encode([{"Config": "c.json", "RepoTags": ["demo:1"], "Layers": names}])
    return tar([*more, ("c.json", config), ("manifest.json", manifest)])


WHOLE = config_of([b"layer"])
CASES = {
    "a document is a link": (tar([("real", b"[]"), ("manifest.json", Link("real"))]), "a regular file"),
    "a document is a link that is not needed": (
        saved_with(WHOLE, ("l.tar", b"layer"), ("index.json", Link("c.json"))),
        "a regular file",
    ),
    "a stray file comes again": (saved_with(WHOLE, ("json", b"a"), ("json", b"b"), ("l.tar", b"layer")), "'json'"),
    "a diff_id is of sha512": (saved_with(config_of([b"layer"], sha512), ("l.tar", b"layer")), "sha256"),
    "a diff_id is another blob's": (
        saved_with(WHOLE, blob(b"other"), layers=[blob(b"other")[0]]),
        f"{LAYER_DIGEST}, as the config says",
    ),
    "a layer has a leftover's name": (saved_with(WHOLE, ("json", b"layer"), layers=["json"]), "another file's"),
    "a layer is a document": (saved_with(WHOLE, layers=["manifest.json"]), "another file's"),
    "a layer is a directory's": (saved_with(WHOLE, ("l.tar", Link("gone"))), "for its link"),
    "a blob is another's before a file that comes again": (
        saved_with(WHOLE, ("blobs/sha256/" + "a" * 64, b"x"), ("c.json", WHOLE), ("l.tar", b"layer")),
        "a" * 64,
    ),
    "a layer is in bzip2": (saved_with(WHOLE, ("l.tar", b"BZh91AY&SY" + bytes(100))), "bzip2"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("case", CASES)
async def test_every_reader_refuses(case: str, tmp_path: Path) -> None:
    data, words = CASES[case]
    (tmp_path / "a.tar").write_bytes(data)
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(data, 1))
    refusals = set()
    for source in (tmp_path / "a.tar", tmp_path / "a.tar.gz", pieces(data, 700)):
        async with MemoryStore() as store:
            with pytest.raises(SteelyardError, match=words) as caught:
                await import_images(store, source)
            refusals.add((type(caught.value), str(caught.value)))
    assert 1 == len(refusals)


@pytest.mark.anyio
async def test_a_layout_has_only_what_stands_among_its_blobs(tmp_path: Path) -> None:
    manifest = encode({"schemaVersion": 2, "config": named(WHOLE, CONFIG), "layers": [named(b"layer")]})
    index = encode({"schemaVersion": 2, "manifests": [named(manifest, MANIFEST)]})
    ends = [("index.json", index), ("oci-layout", LAYOUT)]
    for strays, kind in (([WHOLE], "refused"), ([manifest], "refused"), ([b"layer"], "refused"), ([], "images")):
        files = [(f"stray{number}", data) for number, data in enumerate(strays)]
        blobs = [blob(data) for data in (manifest, WHOLE, b"layer") if data not in strays]
        links = [(blob(data)[0], Link(f"../../stray{number}")) for number, data in enumerate(strays)]
        for more in (blobs, [*links, *blobs]):
            for entries in ([*files, *more, *ends], [*ends, *files, *more], [*more, *ends, *files]):
                found = await verdicts(tar(entries), tmp_path)
                assert kind == found[0][0]
                assert [found[0]] * 3 == found


@pytest.mark.anyio
async def test_a_file_that_claims_the_digest_of_another_is_itself(tmp_path: Path) -> None:
    """In a stream it is compared with what the store has, and stored where the two differ."""
    size = 3 << 19
    right, wrong = b"a" * size, b"a" * (size - 1) + b"b"
    name = f"{named(right)['digest'].partition(':')[2]}.tar"
    data = saved_with(config_of([wrong]), ("first.tar", right), (name, wrong), layers=[name])

    found = await verdicts(data, tmp_path)
    assert "images" == found[0][0]
    assert [found[0]] * 3 == found
