"""The steps of an import: read the contents, choose the names, store the blobs, check the images, set the names."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import msgspec

from steelyard._runtime.concurrent import check_concurrency
from steelyard.content import OnProgress, Store
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, InvalidArgument, LimitExceeded, NotFound
from steelyard.images import media_types
from steelyard.images._off_loop import few_inline, off_loop
from steelyard.images._visited import Visited
from steelyard.images.check import ImageCheck, check_configs, examine
from steelyard.images.choose import Platforms
from steelyard.images.documents import OCIDescriptor
from steelyard.images.importing._blob_writer import ImportBlobWriter, Item
from steelyard.images.importing._naming import Contents, Naming, Plan, plan
from steelyard.images.importing._needed import needed
from steelyard.images.importing._open import ImportSource, SourceOpener, name_of
from steelyard.images.importing._result import Imported, ImportedImage, Ledger
from steelyard.images.importing._without import Without
from steelyard.images.leases import LeaseGuard, lease_guard
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.images.read import DocumentReader, ParsedDocuments
from steelyard.model import DEFAULT_ALGORITHM, Descriptor, Labels

__all__ = ("import_images",)

_CONCURRENCY = 4


async def import_images(
    store: Store,
    source: ImportSource,
    *,
    name: str | None = None,
    naming: Naming | None = None,
    platforms: Platforms | None = None,
    only_referenced: bool = False,
    skip_missing: bool = False,
    overwrite: bool = False,
    labels: Mapping[str, str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    concurrency: int | None = None,
    on_progress: OnProgress | None = None,
) -> Imported:
    """Import images from a source, and name them. All names are set once every blob that they need is stored, or none is.

    A path is an archive, which is read in place, or the directory of an image layout. An archive is a tar archive of an OCI
    layout or of ``docker save``; an archive with both counts as a layout. Its first bytes identify gzip, zstd and xz. A stream
    or a compressed file is read in one pass. The bytes of each blob are compared with the digest in its name while they are
    stored. A blob that is stored already is skipped, and its bytes in the source are not read.

    A failed import leaves whole blobs and no names. It leaves unfinished large blobs as ingests ``import-<digest>``. The next
    import of the same blob finishes them; from a stream it compares the stored bytes and writes the rest.

    Args:
        store: the store that gets the images.
        source: a path, a stream of bytes, a layout that is open, or `ImagesOf` another store.
        name: the name for a single image, instead of the names in the source. With ``@digest`` it selects the image.
        naming: how the other names are made.
        platforms: the platforms of an index whose manifests are needed; None: all.
        only_referenced: store only blobs that the selected images need for `platforms`. Not for a stream.
        skip_missing: name images even if blobs are missing; `ImportedImage.absent` lists these blobs. Without it, only
            non-distributable layers may be missing, because an export may leave them out.
        overwrite: let names of the source replace names with another target; names of the caller always do.
        labels: labels for the names; the content of the source never sets labels.
        limits: bounds on the source.
        concurrency: the number of blobs that are stored at a time; by default 4.
        on_progress: called with `Progress`. The phase ``read`` is about the whole source. The other phases are about a blob.
            Its name is its digest, or its name in the source until the digest is known.

    Raises:
        InvalidArchive: the archive is malformed or misleading, or a blob does not match the digest in its name.
        InvalidDocument: a document or a config is malformed.
        LimitExceeded: something in the source exceeds `limits`.
        IncompleteImage: blobs are missing; the error lists them.
        NotFound: the source has no such image, or no manifest for one of the platforms.
        AlreadyExists: a name of the source has another target in the store.
        FailedPrecondition: the bytes of a stream differ from those that an earlier import left. The stored bytes are dropped, so
            that the next import starts without them.
        InvalidArgument: the names are ambiguous, or the source does not support an option.
        StorageError: the operating system refused.
        Exception: an error of the source.

    Cancellation:
        Leaves the same state as a failure.

    Cost:
        One pass over the source. Memory holds a few batches of 8 MiB, and a record of each entry.
    """
    check_concurrency(concurrency)
    options = _Options(
        name=name,
        naming=naming or Naming(),
        platforms=platforms,
        only_referenced=only_referenced,
        skip_missing=skip_missing,
        overwrite=overwrite,
        labels=None if labels is None else Labels(labels),
        limits=limits,
        concurrency=concurrency or _CONCURRENCY,
    )
    async with lease_guard(store) as guard:
        return await _import(guard, source, options, Ledger(name_of(source), on_progress))


class _Options(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `import_images`."""

    name: str | None
    naming: Naming
    platforms: Platforms | None
    only_referenced: bool
    skip_missing: bool
    overwrite: bool
    labels: Labels | None
    limits: Limits
    concurrency: int


async def _import(guard: LeaseGuard, source: ImportSource, options: _Options, ledger: Ledger) -> Imported:
    started = time.monotonic()
    store, platforms, limits = guard.store, options.platforms, options.limits
    writer = ImportBlobWriter(guard, ledger)
    parsed = ParsedDocuments(limits)
    contents, chosen = await _taken(writer, source, options, parsed)
    await _store_made(writer, contents, chosen)
    documents = Without(store, contents.strays)
    reader = DocumentReader(documents, parsed)
    visited = Visited(limits, indexes=platforms is None)
    found = [
        await _checked(writer, documents, reader, image, platforms=platforms, visited=visited)
        for image in chosen.images
    ]
    for each in found if not options.skip_missing else ():
        each.require(foreign=False)
        if each.unmatched:
            raise NotFound(f"{', '.join(map(str, each.unmatched))} in {each.name}", kind="platform")
    for each in found:
        await guard.refer(each.present)
    documents.admit(contents.strays)
    referenced = await _referenced(reader, contents, found, platforms)
    await _assign(guard, chosen, contents, options)
    seconds = time.monotonic() - started
    return await few_inline(ledger.account.count, lambda: _result(chosen, found, ledger, referenced, seconds))


async def _taken(
    writer: ImportBlobWriter, source: ImportSource, options: _Options, parsed: ParsedDocuments
) -> tuple[Contents, Plan]:
    """Store the blobs of a source. Return its images and the selected images; all other state of the source is freed."""
    platforms = options.platforms
    opener = SourceOpener(writer=writer, parsed=parsed, concurrency=options.concurrency)
    async with opener.open(source) as images:
        if options.only_referenced and images.provider is None:
            raise InvalidArgument("only_referenced: expected a source that can be read twice, found a stream")
        contents = await images.contents()
        # Planning takes a while for an index of megabytes.
        size = len(contents.index)
        chosen = await off_loop(size, lambda: plan(_for(contents, platforms), options.name, options.naming))
        if not (options.overwrite or chosen.moves):
            await _refuse_moves(writer.store, chosen)
        wanted = None
        if options.only_referenced and images.provider is not None:
            reader = DocumentReader(images.provider, parsed)
            wanted = await needed(reader, (root for root, _ in chosen.images), platforms)
        await images.take(wanted)
    return contents, chosen


def _for(contents: Contents, platforms: Platforms | None) -> Contents:
    """Return the contents without images for other platforms; images without a platform stay."""
    if platforms is None or not contents.roots:
        return contents
    wanted = {each.digest for each in platforms.choose([root.descriptor for root in contents.roots])}
    if not wanted:
        raise NotFound(f"{', '.join(map(str, platforms.wanted))} in {contents.name}", kind="platform")
    roots = tuple(root for root in contents.roots if root.descriptor.digest in wanted)
    return msgspec.structs.replace(contents, roots=roots)


async def _refuse_moves(store: Store, chosen: Plan) -> None:
    """Refuse names with another target before anything is stored; `assign` checks them again."""
    for root, names in chosen.images:
        for name in names:
            try:
                held = (await store.images.get(name)).target.digest
            except NotFound:
                continue
            if str(held) != root.digest:
                raise AlreadyExists(held, name=name)


async def _referenced(
    reader: DocumentReader, contents: Contents, found: list[ImageCheck], platforms: Platforms | None
) -> set[Digest]:
    """Return the digests of all blobs of the images of the source, for any platform."""
    checked = {each.target.digest for each in found} if platforms is None else set()
    rest = [root.descriptor for root in contents.roots if root.descriptor.digest not in checked]
    referenced = await needed(reader, rest, None, last=True)
    if platforms is None:
        referenced |= await few_inline(sum(len(each.present) for each in found), lambda: _digests(found))
    return referenced


def _digests(found: Iterable[ImageCheck]) -> set[Digest]:
    return {Digest.parse(node.descriptor.digest) for each in found for node in each.present}


async def _store_made(writer: ImportBlobWriter, contents: Contents, chosen: Plan) -> None:
    """Store the documents that are not blobs of the source."""
    made = [contents.made[root.digest] for root, _ in chosen.images if root.digest in contents.made]
    if chosen.index_name is not None:
        made.append(contents.index)
        roots = {root.digest for root, _ in chosen.images}
        made += [raw for digest, raw in contents.made.items() if digest not in roots]
    if made:
        await writer.write_batch([(Item(contents.name, len(raw)), raw) for raw in made])


async def _checked(
    writer: ImportBlobWriter,
    documents: Without,
    reader: DocumentReader,
    image: tuple[OCIDescriptor, tuple[str, ...]],
    *,
    platforms: Platforms | None,
    visited: Visited,
) -> ImageCheck:
    """Check an image, and store the blobs that only its descriptors contain."""
    root, names = image

    async def examine_root() -> ImageCheck:
        found = await examine(writer.store, reader, root.digest, root, platforms=platforms, visited=visited)
        return documents.without(found)

    found = await examine_root()
    nodes = [(node.descriptor, node.descriptor.embedded()) for node in found.absent]
    embedded = [(Item(each.digest, each.size, each.blob), data) for each, data in nodes if data is not None]
    if embedded:
        await writer.write_batch(embedded)
        documents.admit(item.digest for item, _ in embedded)
        found = await examine_root()
    await check_configs(reader, found.present)
    if not found.absent:
        visited.add(found.present)
    return msgspec.structs.replace(found, name=names[0] if names else root.digest)


async def _assign(guard: LeaseGuard, chosen: Plan, contents: Contents, options: _Options) -> None:
    """Set the names; those of images are set together."""
    store = guard.store
    targets = {name: root.target for root, names in chosen.images for name in names}
    moves = options.overwrite or chosen.moves
    index = {}
    if chosen.index_name is not None:
        index = {chosen.index_name: await _index_target(guard, contents, options.limits)}
    if moves:
        targets, index = targets | index, {}
    if targets:
        await store.images.assign(targets, labels=options.labels, overwrite=moves)
    if index:
        await store.images.assign(index, labels=options.labels, overwrite=True)


async def _index_target(guard: LeaseGuard, contents: Contents, limits: Limits) -> Descriptor:
    """Store the index of the source, and return its descriptor.

    Raises:
        LimitExceeded: the index is larger than a document may be.
    """
    if len(contents.index) > limits.json_bytes:
        raise LimitExceeded(contents.name, limit="json_bytes", allowed=limits.json_bytes, actual=len(contents.index))
    stored = await guard.store.put(contents.index, algorithm=DEFAULT_ALGORITHM)
    await guard.refer_all(stored.digest, [root.descriptor for root in contents.roots])
    return Descriptor(digest=stored.digest, size=stored.size, media_type=media_types.OCI_INDEX)


def _result(chosen: Plan, found: list[ImageCheck], ledger: Ledger, referenced: set[Digest], seconds: float) -> Imported:
    images = tuple(
        ImportedImage(target=root.target, names=names, absent=tuple(node.descriptor.digest for node in each.absent))
        for (root, names), each in zip(chosen.images, found, strict=True)
    )
    blobs = ledger.account.close(referenced)
    return Imported(
        images=images,
        blobs=blobs,
        index=chosen.index_name,
        new_bytes=sum(each.size for each in blobs if each.status == "new"),
        seconds=round(seconds, 3),
    )
