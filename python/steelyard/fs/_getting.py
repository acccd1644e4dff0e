"""Writes blobs into files of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.callbacks import NoOpCallback

from steelyard._runtime.calls import run, run_always
from steelyard.content import ReaderAt, Store
from steelyard.digest import Digest
from steelyard.images.layout._files import NamedFile
from steelyard.trees._copying import fill

__all__ = ("write_file", "write_pieces")


def _open(path: str, executable: bool) -> NamedFile:  # on a thread
    whole = Path(path).absolute()
    whole.parent.mkdir(parents=True, exist_ok=True)
    return NamedFile(whole, path, mode=0o777 if executable else 0o666)


async def write_file(store: Store, digest: Digest, path: str, *, executable: bool, callback: Any) -> None:
    """Write a blob into a file, verified. The file gets its name when it is complete; it is not synced.

    The file shares the blocks of the store's file if the file system supports that, unless `callback` wants progress.

    Raises:
        NotFound: the blob is not stored.
        DataCorrupt: the stored bytes do not match the digest; the file is not created.
        StorageError: the file cannot be written.
    """
    async with store.reader_at(digest) as reader:
        new = await run(_open, path, executable)
        try:
            if isinstance(callback, NoOpCallback):
                await fill(new.file, reader)
            else:
                await _write(reader, new.file.write, callback)
            await run(new.publish_unsynced)
        finally:
            # CANCEL: a file that has no name yet is discarded.
            await run_always(new.close)


async def write_pieces(store: Store, digest: Digest, write: Callable[[bytes], object], callback: Any) -> None:
    """Pass the pieces of a blob to a function, which is called on threads. The blob is verified at its end, after the pieces were passed."""
    async with store.reader_at(digest) as reader:
        await _write(reader, write, callback)


async def _write(reader: ReaderAt, write: Callable[[bytes], object], callback: Any) -> None:
    callback.set_size(reader.size)
    async with reader.stream() as stream:
        async for piece in stream:
            await run(write, piece)
            callback.relative_update(len(piece))
