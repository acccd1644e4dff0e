"""The images of an archive, decided by the same code for a file, a compressed file and a stream.

A reader finds entries by name and returns bytes; it decides nothing. The work is proportional to the bytes of the archive: a
link is followed once, and a config or a layer is read once, however often ``manifest.json`` names it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import msgspec
from anyio.lowlevel import checkpoint

from steelyard._archive import Entry
from steelyard.digest import Digest
from steelyard.errors import InvalidArchive, LimitExceeded
from steelyard.images import media_types
from steelyard.images._off_loop import few_inline, off_loop, short_slices
from steelyard.images.documents import ImageConfig, SavedImage
from steelyard.images.importing._blob_writer import check_again
from steelyard.images.importing._contents import (
    DOCUMENTS,
    LEFTOVERS,
    ArchiveDocuments,
    Layer,
    check_layers,
    layer_type,
    saved_config,
    saved_contents,
    saved_manifest,
)
from steelyard.images.importing._naming import Contents, Root
from steelyard.images.importing._source import ImageSource
from steelyard.images.layout._names import SAVED_FILE
from steelyard.images.read import ParsedDocuments

__all__ = ("Archive", "check_entry", "check_repeated")


class _Config(msgspec.Struct, frozen=True):
    """A config of `docker save` as a blob."""

    digest: Digest
    size: int
    view: ImageConfig


class Archive(ImageSource):
    """An archive. A subclass finds entries, and returns their bytes and digests."""

    def __init__(self, parsed: ParsedDocuments) -> None:
        self._limits = parsed.limits
        self._parsed = parsed
        self._documents = ArchiveDocuments(parsed.limits)
        self._configs: dict[int, _Config] = {}
        self._layers: dict[int, Layer] = {}

    @abstractmethod
    def _resolve(self, name: str) -> Entry | None:
        """Return the entry of that name, or the one that its links lead to; None if there is none."""

    @abstractmethod
    async def _config_of(self, entry: Entry) -> tuple[bytes, Digest]:
        """Return the bytes of a config, whose size is allowed, and their digest; they become a blob."""

    @abstractmethod
    async def _layers_of(self, layers: Sequence[tuple[Entry, str]]) -> list[tuple[Digest, str]]:
        """Return the digest and the compression of each layer; the layers become blobs.

        The digest of an uncompressed layer may be the one from the config, which is given with its name; it is verified when the layer
        is stored.
        """

    async def _judge(self) -> Contents:
        """Return the images that the documents name.

        Raises:
            InvalidArchive, InvalidDocument, LimitExceeded: they are malformed or misleading.
        """
        found = await off_loop(self._documents.size, self._documents.layout)
        if found is not None:
            return found
        images = await off_loop(self._documents.size, self._documents.saved)
        manifests = []
        for saved in images:
            await checkpoint()
            manifests.append(await self._saved(saved))
        return await off_loop(sum(len(raw) for raw, _ in manifests), lambda: saved_contents(manifests))

    async def _saved(self, saved: SavedImage) -> tuple[bytes, Root]:
        """Return the manifest of an image of `docker save`."""
        config = await self._config(saved.config)
        check_layers(saved, config.view)
        layers: list[Layer] = []
        for part in short_slices(list(zip(saved.layers or (), config.view.rootfs.diff_ids or (), strict=True))):
            await checkpoint()
            layers += await self._some_layers(part)
        one = Layer(str(config.digest), config.size, media_types.DOCKER_CONFIG)
        count = len(layers) + len(saved.repo_tags or ())
        return await few_inline(count, lambda: saved_manifest(saved, config.view, one, layers))

    async def _config(self, name: str) -> _Config:
        entry = self._named(name)
        found = self._configs.get(entry.index)
        if found is None:
            if entry.size > self._limits.json_bytes:
                allowed = self._limits.json_bytes
                raise LimitExceeded(entry.name, limit="json_bytes", allowed=allowed, actual=entry.size)
            raw, digest = await self._config_of(entry)
            view = await off_loop(len(raw), lambda: saved_config(raw, name, self._limits))
            found = self._configs[entry.index] = _Config(digest, len(raw), view)
            self._parsed.configs.add((str(digest), len(raw), media_types.DOCKER_CONFIG))
        return found

    async def _some_layers(self, named: Sequence[tuple[str, str]]) -> list[Layer]:
        """Return the layers of these names and digests in the config; layers that were not seen before are read together."""
        entries = [self._named(name) for name, _ in named]
        pairs = [(entry, diff) for entry, (_, diff) in zip(entries, named, strict=True)]
        new: dict[int, tuple[Entry, str]] = {}
        for entry, diff in pairs:
            if entry.index not in self._layers:
                new.setdefault(entry.index, (entry, diff))
        for (entry, _), (digest, compression) in zip(new.values(), await self._layers_of([*new.values()]), strict=True):
            self._layers[entry.index] = Layer(str(digest), entry.size, layer_type(entry.name, compression))
        found = []
        for entry, diff in pairs:
            layer = self._layers[entry.index]
            if layer.media_type == media_types.DOCKER_LAYER and layer.digest != diff:
                raise InvalidArchive(entry.name, expected=f"{diff}, as the config says", actual=layer.digest)
            found.append(layer)
        return found

    def _named(self, name: str) -> Entry:
        """Return the file that ``manifest.json`` names; links are followed."""
        found = self._resolve(name.removeprefix("./"))
        if found is None:
            raise InvalidArchive(name[:300], expected=f"an entry of that name, as {SAVED_FILE} says", actual="none")
        if found.kind != "regular":
            raise InvalidArchive(found.name, expected="a file", actual=f"a {found.kind}")
        if found.name in DOCUMENTS or found.name.rsplit("/", 1)[-1] in LEFTOVERS:
            raise InvalidArchive(found.name, expected="the name of a config or a layer", actual="another file's name")
        return found


def check_entry(entry: Entry) -> None:
    """Refuse a document that is not a regular file: some programs follow a link there, and others do not.

    Raises:
        InvalidArchive: it is not a regular file.
    """
    if entry.name in DOCUMENTS and entry.kind != "regular":
        found = f"a {entry.kind}" + ("" if entry.target is None else f" to {entry.target!r}: put the file itself there")
        raise InvalidArchive(entry.name, expected="a regular file", actual=found)


def check_repeated(first: Entry, again: Entry) -> None:
    """Refuse a repeated entry whose headers differ from those of the first one.

    Raises:
        InvalidArchive: the headers differ.
    """
    check_again(again.name, first.kind, again.kind)
    check_again(again.name, first.target or "no link", again.target or "no link")
    check_again(again.name, first.size, again.size)
