"""Files of this machine that get the bytes of a blob."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.callbacks import NoOpCallback

from steelyard._runtime.calls import OpenFile, run, run_always
from steelyard.content import ReaderAt, Store
from steelyard.digest import Digest
from steelyard.images.layout._files import NewFile
from steelyard.trees._copying import fill

__all__ = ("write_file", "write_pieces")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class _NewFile:
    """A file that gets its name when it is complete."""

    def __init__(self, path: str, *, executable: bool) -> None:
        whole = Path(path).absolute()
        whole.parent.mkdir(parents=True, exist_ok=True)
        self._name = whole.name
        self._directory = OpenFile(os.open(whole.parent, _DIRECTORY))
        try:
            self.file = NewFile(self._directory.fileno(), path, mode=0o777 if executable else 0o666)
        except BaseException:
            self._directory.close()
            raise

    def publish(self) -> None:
        """Give it its name."""
        self.file.publish_unsynced(self._name)

    def close(self) -> None:
        """Close it, and discard it if it has no name."""
        self.file.close()
        self._directory.close()


async def write_file(store: Store, digest: Digest, path: str, *, executable: bool, callback: Any) -> None:
    """Write a blob into a file, verified. The file gets its name when it is complete; it is not synced.

    It shares the blocks of the store's file where the file system can do that, unless `callback` wants progress.

    Raises:
        NotFound: the blob is not stored.
        DataCorrupt: the stored bytes do not match the digest; there is no file then.
        StorageError: the file cannot be written.
    """
    async with store.reader_at(digest) as reader:
        new = await run(lambda: _NewFile(path, executable=executable))
        try:
            if isinstance(callback, NoOpCallback):
                await fill(new.file, reader)
            else:
                await _write(reader, new.file.write, callback)
            await run(new.publish)
        finally:
            # CANCEL: a file without its name is discarded.
            await run_always(new.close)


async def write_pieces(store: Store, digest: Digest, write: Callable[[bytes], object], callback: Any) -> None:
    """Write a blob with a function, which is called on threads. It is verified at the end: pieces may have been written before an error."""
    async with store.reader_at(digest) as reader:
        await _write(reader, write, callback)


async def _write(reader: ReaderAt, write: Callable[[bytes], object], callback: Any) -> None:
    callback.set_size(reader.size)
    async with reader.stream() as stream:
        async for piece in stream:
            await run(write, piece)
            callback.relative_update(len(piece))
