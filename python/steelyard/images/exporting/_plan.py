"""The plan of an export: it is complete before the first byte is written, and depends only on content and arguments."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, NotFound
from steelyard.images._off_loop import few_inline
from steelyard.images._visited import Visited
from steelyard.images.check import ImageCheck, examine, find_root
from steelyard.images.choose import Platforms
from steelyard.images.convert import Rewriter
from steelyard.images.documents import ImageConfig, Manifest, OCIDescriptor
from steelyard.images.exporting._content import Content
from steelyard.images.exporting._result import ExportedBlob, ExportedImage
from steelyard.images.exporting._saved import saved_images
from steelyard.images.layout._names import IMAGE_NAME, REF_NAME, blob_name, encode_index
from steelyard.images.limits import Limits
from steelyard.images.media_types import is_non_distributable
from steelyard.images.node import Node, view_of
from steelyard.images.read import DocumentReader, ParsedDocuments
from steelyard.images.reference import ImageReference
from steelyard.model import Descriptor, Labels

__all__ = ("Plan", "Wanted", "make_plan")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `export_images` that select content."""

    names: tuple[str, ...]
    manifests: tuple[Digest, ...]
    manifest_type: str | None
    platforms: Platforms | None
    oci_ref_name: str | None
    skip_manifest_json: bool
    skip_non_distributable: bool
    skip_missing: bool
    oci: bool
    limits: Limits


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """One root: its name, the labels of the name, and its check."""

    name: str | None
    labels: Labels
    found: ImageCheck


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of an export.

    Attributes:
        content: reads the blobs.
        roots: the roots, sorted by name, those without a name last.
        images: the roots as entries of the target's index.
        blobs: the blobs to write, each once: indexes and manifests, then configs, then all others.
        left_out: the blobs that are not written.
        index: the bytes of ``index.json``.
        saved: the bytes of ``manifest.json``, or None.
    """

    content: Content
    roots: tuple[Root, ...]
    images: tuple[ExportedImage, ...]
    blobs: tuple[Node, ...]
    left_out: tuple[ExportedBlob, ...]
    index: bytes
    saved: bytes | None

    @property
    def size(self) -> int:
        """Bytes of the blobs."""
        return sum(node.descriptor.size for node in self.blobs)


async def make_plan(store: Store, wanted: Wanted) -> Plan:
    """Make the plan of an export.

    Raises:
        The same errors as `export_images`, before anything is written.
    """
    if not wanted.names and not wanted.manifests:
        raise InvalidArgument("export: expected the name of an image, or the digest of a manifest")
    content = Content(store)
    roots = await _roots(store, content, wanted)
    if wanted.oci_ref_name is not None and len(roots) > 1:
        raise InvalidArgument(f"oci_ref_name: expected one image, found {len(roots)}")
    count = sum(len(root.found.present) + len(root.found.absent) for root in roots)
    return await few_inline(count, lambda: _decide(content, roots, wanted))


def _decide(content: Content, roots: tuple[Root, ...], wanted: Wanted) -> Plan:
    """Return the plan."""
    images = _images(roots, wanted.oci_ref_name)
    present = {node.descriptor.digest: node for root in roots for node in root.found.present}
    absent = {node.descriptor.digest: node for root in roots for node in root.found.absent}
    skipped = {digest for digest, node in present.items() if _is_skipped(node, wanted)}
    blobs = sorted((node for digest, node in present.items() if digest not in skipped), key=_rank)
    saved = None
    if not wanted.skip_manifest_json:
        paths = {node.descriptor.digest: blob_name(node.descriptor.blob) for node in blobs}
        trees = [(root.name, root.found.present) for root in roots]
        saved = saved_images(trees, paths, wanted.platforms)
    return Plan(
        content=content,
        roots=roots,
        images=images,
        blobs=tuple(blobs),
        left_out=tuple(
            reported(node, "skipped" if _is_skipped(node, wanted) else "absent")
            for node in (*(present[digest] for digest in present if digest in skipped), *absent.values())
        ),
        index=encode_index(image.target for image in images),
        saved=saved,
    )


def all_written(plan: Plan) -> tuple[ExportedBlob, ...]:
    """Return the records of the blobs, all written."""
    return tuple(reported(node, "written") for node in plan.blobs)


def reported(node: Node, status: str) -> ExportedBlob:
    """Return the record of a blob."""
    return ExportedBlob(
        descriptor=node.descriptor,
        status=status,  # type: ignore[arg-type]
        parent=None if node.parent is None else node.parent.digest,
        platform=node.platform,
    )


async def _roots(store: Store, content: Content, wanted: Wanted) -> tuple[Root, ...]:
    finder = _Finder(content, wanted)
    found = []
    checks: dict[bytes, ImageCheck] = {}  # by the descriptor of the root: an image may have many names
    for name in sorted(set(wanted.names)):
        image = await store.images.get(name)
        root = await find_root(store, image.target, finder.reader)
        key = msgspec.json.encode(root)
        if key not in checks:
            checks[key] = await finder.find(name, root)
        found.append(Root(name=name, labels=image.labels, found=msgspec.structs.replace(checks[key], name=name)))
    for digest in sorted(set(wanted.manifests)):
        root = await finder.reader.describe(Descriptor(digest=digest, media_type=wanted.manifest_type))
        if wanted.manifest_type is None and root.kind not in {"index", "manifest"}:
            raise InvalidArgument(f"manifest {digest}: expected an index or a manifest, found {root.media_type}")
        found.append(Root(name=None, labels=Labels(), found=await finder.find(root.digest, root)))
    for each in found:
        content.add_documents(each.found.present)
    return tuple(found)


class _Finder:
    """Finds the blobs of the roots of an export.

    Attributes:
        reader: reads the documents.
    """

    def __init__(self, content: Content, wanted: Wanted) -> None:
        self.reader = DocumentReader(content, ParsedDocuments(wanted.limits))
        self._content = content
        self._wanted = wanted
        self._visited = Visited(wanted.limits)

    async def find(self, name: str, root: OCIDescriptor) -> ImageCheck:
        """Return the check of a root, which is converted first if requested.

        Raises:
            IncompleteImage, NotFound: a blob or a platform is missing.
        """
        wanted = self._wanted
        found = await self._examine(name, root)
        await self._require_platform(found)
        if not wanted.oci:
            return found
        rewriter = Rewriter(self.reader, oci=True, platforms=wanted.platforms, skip_missing=wanted.skip_missing)
        new = await rewriter.run(root)
        for document, descriptor in rewriter.documents:
            self._content.add(document.raw, descriptor)
        return await self._examine(name, new)

    async def _examine(self, name: str, root: OCIDescriptor) -> ImageCheck:
        wanted, content = self._wanted, self._content
        found = await examine(
            content.store,
            self.reader,
            name,
            root,
            platforms=wanted.platforms,
            in_memory=content.offers,
            visited=self._visited,
        )
        if found.unmatched and not wanted.skip_missing:
            raise NotFound(f"{', '.join(map(str, found.unmatched))} in image {found.name}", kind="platform")
        needed = [node for node in found.absent if not _is_skipped(node, wanted)]
        if wanted.skip_missing:  # a missing root would leave nothing to export
            needed = [node for node in needed if not node.depth]
        msgspec.structs.replace(found, absent=tuple(needed)).require()
        return found

    async def _require_platform(self, found: ImageCheck) -> None:
        """Refuse an image without an index whose config names another platform.

        Raises:
            NotFound: the image is for none of the platforms.
        """
        platforms = self._wanted.platforms
        view = view_of(found.present[0]) if found.present else None
        if platforms is None or self._wanted.skip_missing:
            return
        if not isinstance(view, Manifest) or view.config.kind != "config":
            return
        config = (await self.reader.read(view.config)).view
        if isinstance(config, ImageConfig) and config.os and not platforms.matches(config.platform):
            names = ", ".join(map(str, platforms.wanted))
            raise NotFound(f"{names} in image {found.name}, which is for {config.platform}", kind="platform")


def _is_skipped(node: Node, wanted: Wanted) -> bool:
    return wanted.skip_non_distributable and is_non_distributable(node.descriptor.media_type)


def _rank(node: Node) -> int:
    return {"index": 0, "manifest": 0, "config": 1}.get(node.descriptor.kind, 2)


def _images(roots: Sequence[Root], oci_ref_name: str | None) -> tuple[ExportedImage, ...]:
    short = [None if root.name is None else _object(root.name) for root in roots]
    images = []
    for root, ref in zip(roots, short, strict=True):
        annotations = dict(root.found.target.annotations or {})
        annotations.pop(IMAGE_NAME, None)
        if root.name is not None:
            annotations[IMAGE_NAME] = root.name
            # Two images with the same tag would have the same name in the index, so their full names are used.
            annotations[REF_NAME] = root.name if ref is None or short.count(ref) > 1 else ref
        if oci_ref_name is not None:
            annotations[REF_NAME] = oci_ref_name
        target = msgspec.structs.replace(root.found.target, annotations=dict(sorted(annotations.items())) or None)
        images.append(ExportedImage(name=root.name, target=target))
    return tuple(images)


def _object(name: str) -> str | None:
    """Return the tag of a name, or its digest; None if it is not a reference."""
    try:
        reference = ImageReference.parse(name)
    except InvalidArgument:
        return None
    return reference.tag or (None if reference.digest is None else str(reference.digest))
