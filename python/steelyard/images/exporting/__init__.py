"""Export images from a store into an archive, a stream, an image layout or another store."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Literal, TypeAlias

from anyio.abc import ByteSendStream

from steelyard._archive import Compressed
from steelyard._runtime.calls import run
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument
from steelyard.images._off_loop import few_inline
from steelyard.images.choose import Platforms
from steelyard.images.exporting._archive import Archive, Report, lay_out, pieces
from steelyard.images.exporting._file import new_file, write_archive
from steelyard.images.exporting._plan import Plan, Wanted, all_written, make_plan
from steelyard.images.exporting._progress import ExportProgress, name_of
from steelyard.images.exporting._result import Exported, ExportedBlob, ExportedImage
from steelyard.images.exporting._targets import to_layout, to_store
from steelyard.images.layout import LayoutDriver
from steelyard.images.leases import lease_guard
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.model import OnProgress

__all__ = ("ExportTarget", "Exported", "ExportedBlob", "ExportedImage", "export_images")

ExportTarget: TypeAlias = str | os.PathLike[str] | ByteSendStream | LayoutDriver | Store
"""The target of an export: the path of an archive, a stream for an archive, an image layout or another store."""

Compression: TypeAlias = Literal["gzip", "zstd"]


async def export_images(
    store: Store,
    target: ExportTarget,
    names: Iterable[str] = (),
    *,
    manifests: Iterable[Digest | str] = (),
    manifest_type: str | None = None,
    platforms: Platforms | None = None,
    oci_ref_name: str | None = None,
    skip_manifest_json: bool = False,
    skip_non_distributable: bool = False,
    skip_missing: bool = False,
    compress: Compression | None = None,
    verify: bool = True,
    oci: bool = False,
    overwrite: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: OnProgress | None = None,
) -> Exported:
    """Export images. Each blob is written once.

    Before the first byte is written, all needed blobs are known to be stored. The same content and arguments give the same
    archive, byte for byte: roots are in the order of their names, their blobs in the order of `walk_image`, with documents and
    configs first, and times and owners are 0. A file gets its name at the end, when it is complete and durable. A layout gets its
    index last, and a store the names.

    Args:
        store: the store with the images.
        target: a path, whose file is replaced; a stream, which stays open; an open layout; another store.
        names: image names.
        manifests: digests of indexes or manifests to export without a name.
        manifest_type: their media type, if the documents do not say it.
        platforms: export only the manifests of each index for these; the index itself does not change, unless `oci` is set.
        oci_ref_name: the name of the only image in the target's index, instead of its tag.
        skip_manifest_json: leave out ``manifest.json``, by which an archive is also one of ``docker save``.
        skip_non_distributable: leave out non-distributable layers.
        skip_missing: leave out blobs that are not stored, instead of raising.
        compress: the compression of an archive.
        verify: compare each blob of an archive with its digest while it is copied. Without it the kernel copies from file to
            file. Small blobs, and blobs for layouts and stores, are always compared.
        oci: convert Docker's media types to OCI's, and remove manifests for other platforms from indexes.
        overwrite: whether names of the other store that have another target are replaced.
        limits: bounds on the images.
        on_progress: called with `Progress`. Reports about a blob have its digest as the name. Reports about the whole export have
            the name of the target, and come first.

    Raises:
        NotFound: there is no such name or manifest, or no manifest for a requested platform.
        IncompleteImage: needed blobs are not stored; the error lists them.
        InvalidArgument: no image was named, or the target does not support an option.
        InvalidDocument: a document of an image is malformed.
        LimitExceeded: an image exceeds `limits`.
        AlreadyExists: a name of the other store has another target.
        DataCorrupt: a blob is damaged. Then no file is left. A stream ends within that blob, without the end of an archive.
            Layouts and stores may have other blobs, but no names for them.
        StorageError: the operating system refused.
        Exception: an error of the stream.

    Cancellation:
        Leaves the same state as the error of a damaged blob.
    """
    started = time.monotonic()
    _check_options(target, compress=compress, oci_ref_name=oci_ref_name)
    wanted = Wanted(
        names=tuple(names),
        manifests=tuple(map(Digest.parse, manifests)),
        manifest_type=manifest_type,
        platforms=platforms,
        oci_ref_name=oci_ref_name,
        skip_manifest_json=skip_manifest_json,
        skip_non_distributable=skip_non_distributable,
        skip_missing=skip_missing,
        oci=oci,
        limits=limits,
    )
    async with lease_guard(store, reads=True) as guard:
        plan = await make_plan(guard.store, wanted)
        await guard.protect(await few_inline(len(plan.blobs), lambda: [node.descriptor.blob for node in plan.blobs]))
        report = ExportProgress(name_of(target), plan.size, on_progress).report
        size = plan.size
        if isinstance(target, LayoutDriver):
            blobs = await to_layout(target, plan, report)
        elif isinstance(target, Store):
            blobs = await to_store(target, plan, report, overwrite=overwrite)
        else:
            archive = await few_inline(len(plan.blobs), lambda: lay_out(plan))
            size = archive.layout.size
            if isinstance(target, ByteSendStream):
                await _send(target, archive, plan, report, compress, verify=verify)
            else:
                await _write(os.fspath(target), archive, plan, report, compress, verify=verify)
            blobs = await few_inline(len(plan.blobs), lambda: all_written(plan))
    return Exported(
        images=plan.images, blobs=blobs + plan.left_out, size=size, seconds=round(time.monotonic() - started, 3)
    )


def _check_options(target: ExportTarget, *, compress: Compression | None, oci_ref_name: str | None) -> None:
    if compress not in {None, "gzip", "zstd"}:
        raise InvalidArgument(f"compress: expected gzip or zstd, found {compress!r}")
    if compress is not None and isinstance(target, LayoutDriver | Store):
        raise InvalidArgument("compress: only an archive is compressed, not a layout or a store")
    if oci_ref_name is not None and isinstance(target, Store):
        raise InvalidArgument("oci_ref_name: a store has no index")
    if oci_ref_name is not None and not oci_ref_name:
        raise InvalidArgument("oci_ref_name: expected a name, found an empty one")


async def _send(
    sink: ByteSendStream,
    archive: Archive,
    plan: Plan,
    report: Report,
    compress: Compression | None,
    *,
    verify: bool,
) -> None:
    async with aclosing(pieces(archive, plan.content, report, verify=verify)) as source:
        output: AsyncIterator[bytes | memoryview] = source if compress is None else Compressed(source, compress)
        async for piece in output:
            await sink.send(piece if isinstance(piece, bytes) else bytes(piece))


async def _write(
    path: str, archive: Archive, plan: Plan, report: Report, compress: Compression | None, *, verify: bool
) -> None:
    async with new_file(path, archive.layout.size if compress is None else None) as file:
        if compress is None:
            await write_archive(file, archive, plan.content, report, verify=verify)
            return
        async with aclosing(pieces(archive, plan.content, report, verify=verify)) as source:
            async for piece in Compressed(source, compress):
                await run(file.write, piece)
