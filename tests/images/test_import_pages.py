"""How often an import goes through the entries of an archive in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.make_archives import layout, one_image, tar

from steelyard import MemoryStore
from steelyard._archive import Entry, TarIndex
from steelyard.images import check, import_images

pytestmark = pytest.mark.anyio

NAME = "docker.io/library/demo:1"


@pytest.mark.parametrize(("page", "passes"), [(4096, 1), (2, 3)])
async def test_few_entries_are_gone_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, page: int, passes: int
) -> None:
    """Those of a large archive are not kept: its pages are read again for the sizes, and to store the blobs."""
    path = tmp_path / "archive.tar"
    layers = [b"one", b"two", b"three"]
    path.write_bytes(tar(layout(*one_image(layers, io_containerd_image_name=NAME)[::2])))
    begun: list[str] = []
    files_below = TarIndex.files_below

    def counted(self: TarIndex, directory: str) -> Iterator[list[Entry]]:
        begun.append(directory)
        return files_below(self, directory)

    monkeypatch.setattr(TarIndex, "files_below", counted)
    monkeypatch.setattr("steelyard._archive._reading.FILES_PAGE", page)
    monkeypatch.setattr("steelyard.images.importing._file.FILES_PAGE", page)

    async with MemoryStore() as store:
        imported = await import_images(store, path)

        assert passes == len(begun)
        assert len(layers) + 2 == len(imported.blobs)
        assert (await check(store, NAME)).complete
