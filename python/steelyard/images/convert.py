"""Conversion: Docker's media types to OCI's through a whole image, one platform of many, and whatever a caller's hooks do.

Layers stay as they are. A document in which something changes is written anew, with its other fields in their order, and
named by its SHA-256; so is everything above it. One in which nothing changes keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from anyio.lowlevel import checkpoint

from steelyard.content import Store
from steelyard.errors import InvalidArgument, LimitExceeded, NotFound
from steelyard.hashing import digest_of
from steelyard.images._off_loop import off_loop, short_slices
from steelyard.images.check import check_target
from steelyard.images.choose import Platforms
from steelyard.images.documents import AnyDocument, Index, Manifest, OCIDescriptor
from steelyard.images.leases import lease_guard
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.media_types import to_oci
from steelyard.images.node import named_by
from steelyard.images.read import DocumentReader, ParsedDocuments, parse_off_loop
from steelyard.model import Image

__all__ = ("Hook", "Rewriter", "convert")

Hook: TypeAlias = Callable[[OCIDescriptor], Awaitable[OCIDescriptor]]
"""Given each descriptor of an image, children before their parents; returns it, or that of what takes its place."""


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
    """Convert an image and return the name that holds the result.

    The name's labels and its target's annotations are kept. New documents are stored before the name holds them; a call
    that fails may leave some of them, which nothing names.

    Args:
        store: where the image is, and where the new documents go.
        name: the image name.
        new_name: what holds the result; None: `name` itself is moved, unless somebody else moved it meanwhile.
        oci: change Docker's media types into OCI's.
        platforms: of an index, keep only what is for them.
        hooks: called in their order with each descriptor, the root among them. What they put in place of a blob they
            have to store first.
        overwrite: whether a `new_name` that holds something else is moved.
        limits: bounds on what is looked at.

    Raises:
        NotFound: there is no such name, or nothing for a platform that was asked for.
        IncompleteImage: not all of it is stored.
        AlreadyExists: `new_name` holds something else.
        NameMoved: `name` was moved meanwhile.
        InvalidDocument, LimitExceeded, DataCorrupt: as for `check`.
    """
    image = await store.images.get(name)
    reader = DocumentReader(store, ParsedDocuments(limits))
    found = await check_target(store, name, image.target, reader, platforms)
    if found.unmatched:
        raise NotFound("platform", f"{', '.join(map(str, found.unmatched))} in image {name}")
    found.require()
    rewriter = Rewriter(reader, oci=oci, platforms=platforms, hooks=hooks)
    root = await rewriter.run(found.target)
    async with lease_guard(store) as guard:
        for document, descriptor in rewriter.documents:
            await guard.store.put(document.raw, expected=descriptor.blob, size=descriptor.size)
            await guard.refer_all(descriptor.blob, named_by(document))
        return await _name(guard.store, image, root, new_name, overwrite=overwrite)


async def _name(store: Store, image: Image, root: OCIDescriptor, new_name: str | None, *, overwrite: bool) -> Image:
    """Have the name hold the converted image."""
    target = msgspec.structs.replace(root.target, annotations=image.target.annotations)
    if new_name is None:
        moved = msgspec.structs.replace(image, target=target)
        return await store.images.update(moved, "target", expected=image.target.digest)
    (made,) = await store.images.assign({new_name: target}, labels=image.labels, overwrite=overwrite)
    return made


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
        """Return the descriptor that takes the place of an image's root."""
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
        """Return the descriptor with what the bytes themselves become."""
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
                    found.append(_edited(value, old, await self._convert(old, depth + 1)))  # most do not wait
        if not found:
            raise InvalidArgument("platforms: nothing of the image is for any of them")
        return found


def _value(document: AnyDocument) -> tuple[dict[str, Any], bytes]:
    """Return what a document says, to be changed, and how that is encoded."""
    value = dict(document.value())
    return value, msgspec.json.encode(value)


def _edited(value: dict[str, Any], old: OCIDescriptor, new: OCIDescriptor) -> dict[str, Any]:
    """Return a descriptor's JSON with what differs; fields that this package does not know stay."""
    before, after = msgspec.to_builtins(old), msgspec.to_builtins(new)
    edited = dict(value)
    for key in {**before, **after}:
        if key not in after:
            edited.pop(key, None)
        elif before.get(key) != after[key]:
            edited[key] = after[key]
    return edited
