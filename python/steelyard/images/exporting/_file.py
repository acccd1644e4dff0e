"""An archive in a file: the offsets of all members are known before the first write, and the file gets its name last."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from steelyard._archive import Place, copy_hashed, copy_range
from steelyard._runtime.calls import run, run_always
from steelyard._runtime.chunks import in_batches
from steelyard._runtime.concurrent import map_concurrently
from steelyard._runtime.scopes import managed
from steelyard.errors import DataCorrupt, StorageError
from steelyard.images._off_loop import few_inline
from steelyard.images._pieces import file_of
from steelyard.images.documents import OCIDescriptor
from steelyard.images.exporting._archive import WHOLE_BYTES, Archive, Part, Report, blob_pieces
from steelyard.images.exporting._content import Content
from steelyard.images.layout import _files

__all__ = ("new_file", "write_archive")

CONCURRENCY = 8
"""The number of blobs that are copied at a time: copies overlap with waits for the disk, and use several cores."""

BATCH = 256
"""The most parts that one hop to a thread writes."""

BATCH_BYTES = 4 << 20
"""The approximate limit of the bytes of these parts."""

Placed = tuple[Part, Place]


def _open(path: str, size: int | None) -> _files.NamedFile:
    # If the path is a link, its target is replaced, as a shell does.
    resolved = Path(path).resolve()
    with _files.storage_errors(path, "export"):
        if resolved.is_dir():
            raise StorageError(errno.EISDIR, operation="export", path=path)
        new = _files.NamedFile(resolved, path, mode=0o666, is_swept=True)
    if size is not None:
        try:
            with _files.storage_errors("archive", "export"):
                os.ftruncate(new.file.number, size)
        except BaseException:
            new.close()
            raise
    return new


@managed
async def new_file(path: str, size: int | None = None) -> AsyncIterator[_files.NewFile]:
    """Yield a new file, of `size` bytes if that is known. Without an exception, the file gets its name at the end, atomically and durably."""
    new = await run(_open, path, size)
    try:
        yield new.file
        # CANCEL: publishing is not interrupted; the old file stays, or the complete new file replaces it.
        await run(new.publish)
    finally:
        if not new.is_closed:
            await run_always(new.close)


async def write_archive(
    file: _files.NewFile, archive: Archive, content: Content, report: Report, *, verify: bool
) -> None:
    """Write each part to its place: headers and small blobs first, then large blobs, several at a time.

    Raises:
        DataCorrupt, NotFound, StorageError.
    """
    batches, large = await few_inline(len(archive.parts), lambda: _divide(archive))
    kernel_copy = anyio.Lock()  # the kernel lets one copy at a time into a file

    async def write(batch: list[Placed]) -> None:
        await _write_batch(content, batch, file, report)

    async def copy(blob: tuple[OCIDescriptor, int]) -> None:
        descriptor, offset = blob
        await _copy_blob(content, descriptor, offset, file, report, kernel_copy=None if verify else kernel_copy)

    await map_concurrently(batches, write, concurrency=CONCURRENCY)
    await map_concurrently(large, copy, concurrency=CONCURRENCY)


def _divide(archive: Archive) -> tuple[list[list[Placed]], list[tuple[OCIDescriptor, int]]]:
    """Return all parts in batches, and the large blobs, of which the batches write only the headers."""
    placed = list(zip(archive.parts, archive.layout.places, strict=True))
    large = [
        (part.blob.descriptor, place.data_offset) for part, place in placed if part.blob is not None and _is_large(part)
    ]
    batches = in_batches(placed, lambda each: 0 if _is_large(each[0]) else each[0].member.size, BATCH, BATCH_BYTES)
    return list(batches), large


def _is_large(part: Part) -> bool:
    return part.blob is not None and part.member.size > WHOLE_BYTES


async def _write_batch(content: Content, batch: list[Placed], file: _files.NewFile, report: Report) -> None:
    rows = []
    small = []
    for part, place in batch:
        data = part.data
        if part.blob is not None and not _is_large(part):
            data = await content.read(part.blob.descriptor)
            small.append(part.blob.descriptor)
        rows.append((place.header_offset, place.header + data))
    await run(_write_rows, file, rows)
    for descriptor in small:
        report(descriptor, descriptor.size)


def _write_rows(file: _files.NewFile, rows: list[tuple[int, bytes]]) -> None:
    for offset, data in rows:
        file.write_at(offset, data)


async def _copy_blob(
    content: Content,
    descriptor: OCIDescriptor,
    offset: int,
    file: _files.NewFile,
    report: Report,
    *,
    kernel_copy: anyio.Lock | None,
) -> None:
    """Copy a blob to its place; with `kernel_copy` the kernel copies it where it can, and nothing is verified."""
    async with content.reader_at(descriptor.target) as reader:
        number = file_of(reader)
        if number is not None and reader.size == descriptor.size:
            await _copy_file(number, descriptor, offset, file, report, kernel_copy=kernel_copy)
            return
    async for piece in blob_pieces(content, descriptor, report, verify=kernel_copy is None):
        await run(file.write_at, offset, piece)
        offset += len(piece)


async def _copy_file(
    number: int,
    descriptor: OCIDescriptor,
    offset: int,
    file: _files.NewFile,
    report: Report,
    *,
    kernel_copy: anyio.Lock | None,
) -> None:
    def report_bytes(done: int) -> None:
        report(descriptor, done)

    if kernel_copy is not None:
        # Several copies that wait for each other in the kernel take a tenth longer.
        async with kernel_copy:
            await copy_range(number, 0, file.number, offset, descriptor.size, report=report_bytes)
        return
    wanted = descriptor.blob
    found = await copy_hashed(
        (number, 0), (file.number, offset), descriptor.size, wanted.algorithm, report=report_bytes
    )
    if found != wanted.encoded:
        actual = f"{wanted.algorithm}:{found}"
        raise DataCorrupt(descriptor.digest, expected=descriptor.digest, actual=actual)
