"""Budgets of hops: of imports and exports of an image of four layers, and of checks. Waits for the write buffer count, too."""

from __future__ import annotations

import gzip
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteSendStream
from support.archives import pieces
from support.disks import has_cached_reads
from support.make_archives import layout, one_image, saved, tar

from steelyard import LocalStore
from steelyard._runtime import calls
from steelyard.images import check, export_images, import_images, usage
from steelyard.images.importing import ImportSource
from steelyard.local.blocking import BlockingStore

pytestmark = pytest.mark.anyio

NAME = "docker.io/library/demo:1"
LAYERS = 4

DOCUMENTS = 6
"""The hops for reading the manifest and the config where no read can be had from memory alone, as on tmpfs."""

LEASE = 3
"""The hops to begin a lease, to enter what is there or is read, and to end the lease."""


@cache
def archive(kind: str) -> bytes:
    """Return an archive of an image with large layers; it is made when a test runs, not when it is collected."""
    layers = [random.Random(number).randbytes(5 << 20) for number in range(LAYERS)]
    return tar(layout(*one_image(layers, io_containerd_image_name=NAME)[::2]) if kind == "oci" else saved(layers, NAME))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalStore]:
    """Give an empty store."""
    async with LocalStore(tmp_path / "store", durability="process-crash") as store:
        yield store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list that gets the number of digests of each look-up of sizes."""
    counts: list[int] = []
    sizes = BlockingStore.sizes

    def counted(self: BlockingStore, digests: list[str]) -> object:
        counts.append(len(digests))
        return sizes(self, digests)

    monkeypatch.setattr(BlockingStore, "sizes", counted)
    return counts


class Sink(ByteSendStream):
    """Drops what it is sent."""

    async def send(self, item: bytes) -> None:  # noqa: ARG002  # of the interface
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()


async def hops(work: Callable[[], Awaitable[object]]) -> int:
    """Return the number of hops of the work."""
    before = calls.counts()["hops"]
    await work()
    return calls.counts()["hops"] - before


@cache
def compressed(kind: str) -> bytes:
    """Return the compressed archive."""
    return gzip.compress(archive(kind), 1)


def source(kind: str, form: str, folder: Path) -> Callable[[], ImportSource]:
    """Return a function that gives the archive in one of its forms."""
    data = compressed(kind) if form.startswith("compressed") else archive(kind)
    if form.endswith("stream"):
        return lambda: pieces(data)
    path = folder / "archive"
    path.write_bytes(data)
    return lambda: path


@pytest.mark.parametrize(
    ("kind", "form", "budget", "stored_budget"),
    [
        ("oci", "file", 24, 10),
        ("oci", "stream", 24, 10),
        ("docker", "file", 27, 13),
        # These imports look for stored layers one by one. Each look enters its layer into the lease.
        ("docker", "stream", 30, 35),
        ("oci", "compressed file", 30, 28),
        ("oci", "compressed stream", 30, 28),
    ],
)
async def test_an_import_of_four_layers_keeps_its_budget(
    store: LocalStore, asked: list[int], tmp_path: Path, *, kind: str, form: str, budget: int, stored_budget: int
) -> None:
    slack = LEASE if has_cached_reads(tmp_path) else LEASE + DOCUMENTS
    archive = source(kind, form, tmp_path)

    first = await hops(lambda: import_images(store, archive()))
    asked_first = asked.copy()
    stored = await hops(lambda: import_images(store, archive()))

    print(f"{kind}, {form}: {first} hops, {stored} when everything is stored")
    assert (await check(store, NAME)).complete
    assert first <= budget + slack
    assert stored <= stored_budget + slack
    if kind == "oci" or form == "file":
        # Once for the blobs of a file, or for the small ones of a stream, and once at the end for all of the image.
        assert len(asked_first) == 2, asked_first
        assert asked_first[-1] == LAYERS + 2


@pytest.mark.parametrize("look", [check, usage])
async def test_a_check_asks_once_for_all_blobs(
    store: LocalStore, asked: list[int], look: Callable[[LocalStore, str], Awaitable[object]], tmp_path: Path
) -> None:
    await import_images(store, source("oci", "file", tmp_path)())
    asked.clear()

    assert await hops(lambda: look(store, NAME)) <= 2 + (0 if has_cached_reads(tmp_path) else DOCUMENTS)
    assert asked == [LAYERS + 2]


async def test_an_export_of_four_layers_keeps_its_budget(store: LocalStore, asked: list[int], tmp_path: Path) -> None:
    slack = LEASE if has_cached_reads(tmp_path) else LEASE + DOCUMENTS
    await import_images(store, source("oci", "file", tmp_path)())
    asked.clear()

    file = await hops(lambda: export_images(store, tmp_path / "out.tar", [NAME]))
    stream = await hops(lambda: export_images(store, Sink(), [NAME]))

    print(f"export to a file: {file} hops, to a stream: {stream}")
    assert file <= 10 + slack
    assert stream <= 30 + slack  # at most one for each MiB, and two for the end of a layer
    assert asked == [LAYERS + 2] * 2
