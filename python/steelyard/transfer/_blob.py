"""Reads, writes and copies whole blobs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing, suppress

import msgspec

from steelyard.content import Ingester, Manager, Opening, Provider, Store, Writer
from steelyard.digest import Digest
from steelyard.errors import (
    AlreadyExists,
    DataCorrupt,
    NotFound,
    Unavailable,
    UnexpectedDigest,
    UnexpectedSize,
    Unreachable,
)
from steelyard.model import Descriptor, OnProgress, PutResult, Source
from steelyard.options import PutOptions
from steelyard.transfer._ingest import Transfer
from steelyard.transfer._source import BlobPieces, opened
from steelyard.transfer._writer import open_writer

__all__ = ("copy", "exists", "read_blob", "write_blob")


async def read_blob(provider: Provider, blob: Descriptor | Digest | str) -> bytes:
    """Return a whole blob, verified, in memory.

    Raises:
        NotFound: the blob is not stored.
        DataCorrupt: the stored bytes do not match the digest; they are never returned.
    """
    async with provider.reader_at(blob) as reader, reader.stream() as stream:
        return b"".join([piece async for piece in stream])


async def exists(manager: Manager, digest: Digest | str) -> bool:
    """Return whether the blob is stored."""
    try:
        await manager.info(digest)
    except NotFound:
        return False
    return True


async def write_blob(
    store: Store,
    source: Source,
    blob: Descriptor | Digest | str,
    *,
    ref: str | None = None,
    labels: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
) -> PutResult:
    """Store a blob with a known digest, and return whether it was new.

    A blob that is already stored is a success, and `source` is not read. A failed call leaves the ingest, and the next
    call with the same `ref` resumes it.

    Args:
        store: the store.
        source: see `steelyard.content.Source`.
        blob: the digest of the source, or a descriptor, which may also give its size.
        ref: the name of the ingest, by default derived from the digest. Calls with the same ref wait for each other.
        labels: labels for a new blob.
        on_progress: called with `Progress`.

    Raises:
        UnexpectedSize, UnexpectedDigest: the source has another size or digest; the ingest keeps its bytes until the next call.
        StorageError, and any error of the source.
    """
    wanted = Descriptor.of(blob)
    name = f"write-{wanted.digest}" if ref is None else ref
    options = PutOptions.parse(size=wanted.size, expected=wanted.digest, labels=labels, on_progress=on_progress)

    def wait() -> None:
        options.report("wait", name, 0, wanted.size)

    def writer() -> Opening[Writer]:
        return open_writer(store, name, size=wanted.size, expected=wanted.digest, on_wait=wait)

    async with opened(source) as pieces:
        try:
            return await Transfer(pieces=pieces, name=name, options=options).run(writer)
        except AlreadyExists:
            size = (await store.info(wanted.digest)).size if wanted.size is None else wanted.size
            return PutResult(digest=wanted.digest, size=size, new=False)


async def copy(
    source: Provider,
    blob: Descriptor | Digest | str,
    target: Ingester,
    *,
    ref: str | None = None,
    labels: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
) -> PutResult:
    """Copy a blob to another store and return whether it was new there.

    The copy resumes an earlier copy with the same `ref`. The target computes the digest of all bytes, including the earlier
    ones, and publishes only matching bytes. So an error in either store, or in the transfer, is detected.

    Args:
        source: the store to copy from.
        blob: its digest, or a descriptor, which may also give its size.
        target: the store to copy to.
        ref: the name of the ingest in the target, by default derived from the digest. Copies with the same ref wait for each other.
        labels: labels for a new blob in the target; the labels in the source are ignored.
        on_progress: called with `Progress`; its name is the digest.

    Raises:
        NotFound: the blob is not stored in the source.
        DataCorrupt: the bytes in the source do not match the digest or the size; the target keeps none of them.
        StorageError: from either store.

    Cancellation:
        The target keeps the bytes copied so far.
    """
    wanted = Descriptor.of(blob).digest
    name = f"copy-{wanted}" if ref is None else ref
    options = PutOptions.parse(expected=wanted, labels=labels, on_progress=on_progress)
    async with source.reader_at(blob) as reader:
        options = msgspec.structs.replace(options, size=reader.size)

        def wait() -> None:
            options.report("wait", str(wanted), 0, reader.size)

        def writer() -> Opening[Writer]:
            return open_writer(target, name, size=reader.size, expected=wanted, on_wait=wait)

        try:
            async with aclosing(BlobPieces(reader)) as pieces:
                return await Transfer(pieces=pieces, name=str(wanted), options=options).run(writer)
        except AlreadyExists:
            return PutResult(digest=wanted, size=reader.size, new=False)
        except (UnexpectedDigest, UnexpectedSize) as found:
            with suppress(AlreadyExists, Unavailable, Unreachable):
                async with target.writer(name) as rest:
                    await rest.truncate(0)
            raise DataCorrupt(wanted, expected=str(found.expected), actual=str(found.actual)) from None
