"""Conversion of images: Docker's media types to OCI's, a selection of platforms, and changes by a caller's hooks.

Layers do not change. A changed document is encoded again, with its other fields in their order, and named by its SHA-256; so
are all documents that contain it, directly or not. An unchanged document keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

import msgspec
from anyio.lowlevel import checkpoint

from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidDigest, LimitExceeded, NotFound, UnsupportedAlgorithm
from steelyard.hashing import digest_of
from steelyard.images._off_loop import few_inline, off_loop, short_slices
from steelyard.images.check import ImageCheck, check_target
from steelyard.images.choose import Platforms
from steelyard.images.documents import AnyDocument, Index, Manifest, OCIDescriptor
from steelyard.images.leases import LeaseGuard, lease_guard
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.media_types import to_oci
from steelyard.images.node import Node, named_by
from steelyard.images.read import DocumentReader, ParsedDocuments, parse_off_loop
from steelyard.model import Image

__all__ = ("Hook", "Rewriter", "convert")

Hook: TypeAlias = Callable[[OCIDescriptor], Awaitable[OCIDescriptor]]
"""Called with each descriptor of an image, children before their parents; returns it, or a replacement."""


async def convert(
    store: Store,
    name: str,
    new_name: str | None = None,
    *,
    oci: bool = True,
    platforms: Platforms | None = None,
    hooks: Sequence[Hook] = (),
    overwrite: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Image:
    """Convert an image and return the name of the result.

    The labels of the name and the annotations of its target are kept. A lease protects the image and the replacements of hooks,
    also if its name is removed meanwhile. New documents are stored before the name is set; a failed
    call may leave some of them without a name.

    Args:
        store: the store of the image, which also gets the new documents.
        name: the image name.
        new_name: the name of the result; None: move `name` itself, unless another caller moves it meanwhile.
        oci: convert Docker's media types to OCI's.
        platforms: keep only the manifests of an index for these; None: all.
        hooks: called in their order with each descriptor, including the root. A hook has to store a replacement before it
            returns its descriptor, under a lease if collections without a grace time run beside it.
        overwrite: whether a `new_name` with another target is replaced.
        limits: bounds on the image.

    Raises:
        NotFound: there is no such name, or no manifest for a requested platform.
        IncompleteImage: not all blobs of the image are stored.
        AlreadyExists: `new_name` has another target.
        NameMoved: `name` was moved meanwhile.
        InvalidDocument, LimitExceeded, DataCorrupt: as for `check`.
    """
    async with lease_guard(store) as guard:
        image = await guard.store.images.get(name)
        reader = DocumentReader(guard.store, ParsedDocuments(limits))
        found = await _check_protected(guard, image, reader, platforms)

        async def protect(descriptor: OCIDescriptor) -> OCIDescriptor:
            with suppress(InvalidDigest, UnsupportedAlgorithm):  # it cannot be stored
                await guard.protect([descriptor.blob])
            return descriptor

        own = (protect,) if hooks else ()
        rewriter = Rewriter(reader, oci=oci, platforms=platforms, hooks=(*hooks, *own))
        root = await rewriter.run(found.target)
        for document, descriptor in rewriter.documents:
            await guard.store.put(document.raw, expected=descriptor.blob, size=descriptor.size)
            await guard.refer_all(descriptor.blob, named_by(document))
        return await _name(guard.store, image, root, new_name, overwrite=overwrite)


async def _check_protected(
    guard: LeaseGuard, image: Image, reader: DocumentReader, platforms: Platforms | None
) -> ImageCheck:
    """Check that an image is complete, and protect its blobs, because its name may be removed while it is converted."""
    while True:
        found = await check_target(guard.store, image.name, image.target, reader, platforms)
        if found.unmatched:
            raise NotFound(f"{', '.join(map(str, found.unmatched))} in image {image.name}", kind="platform")
        found.require()
        sizes = await few_inline(len(found.present), partial(_sizes_of, found.present))
        if len(await guard.find_stored(sizes)) == len(sizes):
            return found


def _sizes_of(nodes: Sequence[Node]) -> dict[Digest, int]:
    return {node.descriptor.blob: node.descriptor.size for node in nodes}


async def _name(store: Store, image: Image, root: OCIDescriptor, new_name: str | None, *, overwrite: bool) -> Image:
    """Give the name to the converted image."""
    target = msgspec.structs.replace(root.target, annotations=image.target.annotations)
    if new_name is None:
        moved = msgspec.structs.replace(image, target=target)
        return await store.images.update(moved, "target", expected=image.target.digest)
    (created,) = await store.images.assign({new_name: target}, labels=image.labels, overwrite=overwrite)
    return created


class Rewriter:
    """Rewrites the documents of images, each once.

    Attributes:
        documents: the new documents with their descriptors, children before their parents.
    """

    def __init__(
        self,
        reader: DocumentReader,
        *,
        oci: bool,
        platforms: Platforms | None,
        hooks: Sequence[Hook] = (),
        skip_missing: bool = False,
    ) -> None:
        self.documents: list[tuple[AnyDocument, OCIDescriptor]] = []
        self._reader = reader
        self._oci = oci
        self._platforms = platforms
        self._hooks = tuple(hooks)
        self._skip_missing = skip_missing
        self._done: dict[tuple[str, str], OCIDescriptor] = {}

    async def run(self, root: OCIDescriptor) -> OCIDescriptor:
        """Return the descriptor that replaces an image's root."""
        return await self._convert(root, 0)

    async def _convert(self, old: OCIDescriptor, depth: int) -> OCIDescriptor:
        known = self._done.get((old.digest, old.media_type))
        if known is None:
            if depth > self._reader.limits.nesting:
                raise LimitExceeded("image", limit="nesting", allowed=self._reader.limits.nesting)
            known = await self._convert_blob(old, depth)
            self._done[old.digest, old.media_type] = known
        new = msgspec.structs.replace(old, media_type=known.media_type, digest=known.digest, size=known.size)
        if new.digest != old.digest:
            new = msgspec.structs.replace(new, data=None)
        for hook in self._hooks:
            new = await hook(new)
        return new

    async def _convert_blob(self, old: OCIDescriptor, depth: int) -> OCIDescriptor:
        """Return the descriptor of the converted blob, before hooks."""
        media_type = to_oci(old.media_type) if self._oci else old.media_type
        if old.kind not in {"index", "manifest"}:
            return msgspec.structs.replace(old, media_type=media_type)
        try:
            document = await self._reader.read(old)
        except NotFound:
            if not self._skip_missing:
                raise
            return old  # a missing document cannot be converted, so its descriptor stays the same
        view = document.view
        if not isinstance(view, Index | Manifest):
            return old
        value, before = await off_loop(len(document.raw), lambda: _value(document))
        if "mediaType" in value:
            value["mediaType"] = media_type
        if isinstance(view, Index):
            value["manifests"] = await self._children(value.get("manifests"), view.children, depth, choose=True)
        else:
            (value["config"],) = await self._children([value["config"]], (view.config,), depth)
            value["layers"] = await self._children(value.get("layers"), view.layers or (), depth)
        data = await off_loop(len(before), lambda: msgspec.json.encode(value))
        if data == before:
            return msgspec.structs.replace(old, media_type=media_type)
        digest = await digest_of(data)
        new = msgspec.structs.replace(old, media_type=media_type, digest=str(digest), size=len(data), data=None)
        made = await parse_off_loop(data, new, self._reader.limits)
        self._reader.add(new, made)
        self.documents.append((made, new))
        return new

    async def _children(
        self, values: Any, named: tuple[OCIDescriptor, ...], depth: int, *, choose: bool = False
    ) -> Any:
        if not named:
            return values
        kept = named
        if choose and self._platforms is not None:
            kept = self._platforms.choose(named)
        wanted = set(map(id, kept))
        found = []
        for part in short_slices(list(zip(values, named, strict=True))):
            await checkpoint()
            for value, old in part:
                if id(old) in wanted:
                    found.append(_edited(value, old, await self._convert(old, depth + 1)))  # most calls do not wait
        if not found:
            raise InvalidArgument("platforms: the image has no manifest for any of them")
        return found


def _value(document: AnyDocument) -> tuple[dict[str, Any], bytes]:
    """Return the fields of a document, which may be changed, and their encoding."""
    value = dict(document.value())
    return value, msgspec.json.encode(value)


def _edited(value: dict[str, Any], old: OCIDescriptor, new: OCIDescriptor) -> dict[str, Any]:
    """Return the JSON of a descriptor with the changed fields; unknown fields stay."""
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    edited = dict(value)
    for key in {**before, **after}:
        if key not in after:
            edited.pop(key, None)
        elif before.get(key) != after[key]:
            edited[key] = after[key]
    return edited
