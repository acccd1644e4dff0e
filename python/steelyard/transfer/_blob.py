"""Whole blobs: out of a store, into one, from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from steelyard.content import Ingester, Manager, Provider, Writer
from steelyard.digest import Digest
from steelyard.errors import AlreadyExists, DataCorrupt, NotFound, Unavailable, UnexpectedDigest, UnexpectedSize
from steelyard.model import Descriptor, OnProgress, PutResult, Source
from steelyard.options import PutOptions
from steelyard.transfer._ingest import Transfer
from steelyard.transfer._source import BlobPieces, opened
from steelyard.transfer._writer import open_writer

__all__ = ("copy", "exists", "read_blob", "write_blob")


async def read_blob(provider: Provider, blob: Descriptor | Digest | str) -> bytes:
    """Return a whole blob, verified; all of it is in memory.

    Raises:
        NotFound: it is not stored.
        DataCorrupt: the stored bytes do not match; they are never returned.
    """
    async with await provider.reader_at(blob) as reader, reader.stream() as stream:
        return b"".join([piece async for piece in stream])


async def exists(manager: Manager, digest: Digest | str) -> bool:
    """Return whether the blob is stored."""
    try:
        await manager.info(digest)
    except NotFound:
        return False
    return True


async def write_blob(
    ingester: Ingester,
    ref: str,
    source: Source,
    blob: Descriptor | Digest | str,
    *,
    labels: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
) -> bool:
    """Store a blob whose digest is known, waiting for a held ref; return whether this call stored it.

    That it is there already is success, and `source` is not read then. A failed call leaves the ingest, and the next
    one goes on where it stopped.

    Args:
        ingester: the store.
        ref: the ingest's name; see `open_writer` for the wait.
        source: see `steelyard.content.Source`.
        blob: the digest that the source has, and in a descriptor perhaps its size.
        labels: labels for the blob if it is new.
        on_progress: called with `Progress`.

    Raises:
        UnexpectedSize, UnexpectedDigest: the source gave something else; the ingest keeps it until the next call.
        StorageError, and whatever the source raises.
    """
    wanted = blob if isinstance(blob, Descriptor) else Descriptor(digest=Digest.parse(blob))
    options = PutOptions.parse(size=wanted.size, expected=wanted.digest, labels=labels, on_progress=on_progress)

    async def writer() -> Writer:
        return await open_writer(ingester, ref, size=wanted.size, expected=wanted.digest)

    async with opened(source) as pieces:
        try:
            return (await Transfer(pieces=pieces, name=ref, options=options).run(writer)).new
        except AlreadyExists:
            return False


async def copy(
    source: Provider,
    digest: Digest | str,
    target: Ingester,
    *,
    ref: str | None = None,
    labels: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
) -> PutResult:
    """Copy a blob to another store and return whether it was new there.

    The copy goes on where an earlier one of the same `ref` stopped. The target computes the digest of all it holds, those
    earlier bytes included, and publishes only what matches; so a fault of either store, or on the way, is found.

    Args:
        source: where the blob is.
        digest: the blob.
        target: where it shall be.
        ref: the ingest's name in the target, by default made of the digest. Copies with the same one wait for each other.
        labels: labels for the blob if it is new in the target; those in the source are not looked at.
        on_progress: called with `Progress`, by the digest's name.

    Raises:
        NotFound: the source has no such blob.
        DataCorrupt: the bytes in the source do not match the digest; the target holds nothing of them.
        StorageError: of either store.

    Cancellation:
        The target keeps the bytes copied so far.
    """
    wanted = Digest.parse(digest)
    name = f"copy-{wanted}" if ref is None else ref
    options = PutOptions.parse(expected=wanted, labels=labels, on_progress=on_progress)
    async with await source.reader_at(wanted) as reader:
        options = msgspec.structs.replace(options, size=reader.size)

        async def writer() -> Writer:
            return await open_writer(target, name, size=reader.size, expected=wanted)

        try:
            return await Transfer(pieces=BlobPieces(reader), name=str(wanted), options=options).run(writer)
        except AlreadyExists:
            return PutResult(digest=wanted, size=reader.size, new=False)
        except (UnexpectedDigest, UnexpectedSize) as found:
            with suppress(AlreadyExists, Unavailable):
                async with await target.writer(name) as rest:
                    await rest.truncate(0)
            raise DataCorrupt(str(wanted), expected=str(found.expected), actual=str(found.actual)) from None
