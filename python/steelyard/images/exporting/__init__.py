"""Export: images from a store into an archive, a stream, an image layout or another store."""

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
from steelyard.images.choose import Platforms
from steelyard.images.exporting._archive import Archive, Report, lay_out, pieces
from steelyard.images.exporting._file import new_file, write_archive
from steelyard.images.exporting._plan import Plan, Wanted, all_written, make_plan
from steelyard.images.exporting._progress import Ledger, name_of
from steelyard.images.exporting._result import Exported, ExportedBlob, ExportedImage
from steelyard.images.exporting._targets import to_layout, to_store
from steelyard.images.layout import LayoutDriver
from steelyard.images.limits import DEFAULT_LIMITS, Limits
from steelyard.model import OnProgress

__all__ = ("ExportTarget", "Exported", "ExportedBlob", "ExportedImage", "export_images")

ExportTarget: TypeAlias = str | os.PathLike[str] | ByteSendStream | LayoutDriver | Store
"""Where an export goes: the path of an archive, a stream that takes one, an image layout, another store."""

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
    """Write images, each blob once, to where others can read them.

    What is needed is known to be stored before the first byte is written. The same content and arguments give the same
    archive, byte for byte: the order is that of `walk_image` from the roots in the order of their names, documents and
    configs before all else; times and owners are 0. A file appears under its name, whole and durable, at the end. A
    layout and a store get what names the blobs last.

    Args:
        store: where the images are.
        target: a path, whose file is replaced; a stream, which stays open; a layout, open; another store.
        names: image names.
        manifests: digests of indexes or manifests that are exported without a name.
        manifest_type: their media type, where the documents do not say it themselves.
        platforms: of each index, only what is for them; the index itself stays as it is, unless `oci` is set.
        oci_ref_name: what to name the only image in the target's index, in place of its tag.
        skip_manifest_json: leave out ``manifest.json``, by which an archive is also one of ``docker save``.
        skip_non_distributable: leave out layers whose maker does not want them passed on.
        skip_missing: leave out what is not stored, in place of an error.
        compress: what to wrap an archive in.
        verify: compare each blob of an archive with its digest while it is copied; without it a copy from file to file
            stays in the kernel. Small blobs, layouts and stores always compare.
        oci: convert Docker's media types to OCI's; of an index, only what is for `platforms` stays.
        overwrite: whether names that another store has for something else are moved.
        limits: bounds on what is looked at.
        on_progress: called with `Progress`: of each blob by its digest, and of the whole by the name of the target, which
            is also the first report.

    Raises:
        NotFound: there is no such name or manifest, or nothing for a platform that was asked for.
        IncompleteImage: not all that is needed is stored; the error lists what is not.
        InvalidArgument: nothing was named, or an option does not go with the target.
        InvalidDocument, LimitExceeded: a document of an image is not as it should be.
        AlreadyExists: the other store has a name for something else.
        DataCorrupt: a blob is damaged. A file is not there then; a stream ends within that blob, without the end of an
            archive; layouts and stores may have other blobs, but nothing that names them.
        StorageError: the system refused. What the stream raises is raised.

    Cancellation:
        As for a damaged blob.
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
    plan = await make_plan(store, wanted)
    report = Ledger(name_of(target), plan.size, on_progress).report
    size = plan.size
    if isinstance(target, LayoutDriver):
        blobs = await to_layout(target, plan, report)
    elif isinstance(target, Store):
        blobs = await to_store(target, plan, report, overwrite=overwrite)
    else:
        archive = await run(lay_out, plan)
        size = archive.layout.size
        if isinstance(target, ByteSendStream):
            await _send(target, archive, plan, report, compress, verify=verify)
        else:
            await _write(os.fspath(target), archive, plan, report, compress, verify=verify)
        blobs = await run(all_written, plan)
    return Exported(
        images=plan.images, blobs=blobs + plan.left_out, size=size, seconds=round(time.monotonic() - started, 3)
    )


def _check_options(target: ExportTarget, *, compress: Compression | None, oci_ref_name: str | None) -> None:
    if compress not in {None, "gzip", "zstd"}:
        raise InvalidArgument(f"compress: expected gzip or zstd, found {compress!r}")
    if compress is not None and isinstance(target, LayoutDriver | Store):
        raise InvalidArgument("compress: only an archive is compressed, no layout and no store")
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
    async with new_file(path) as file:
        if compress is None:
            await write_archive(file, archive, plan.content, report, verify=verify)
            return
        async with aclosing(pieces(archive, plan.content, report, verify=verify)) as source:
            async for piece in Compressed(source, compress):
                await run(file.write, piece)
