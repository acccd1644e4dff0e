"""Writing: an ingest is in the spool until its commit sends it to the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from steelyard._runtime.fork import ProcessBound
from steelyard.content import Writer
from steelyard.digest import Digest
from steelyard.errors import WriterClosed
from steelyard.local.writer import LocalWriter
from steelyard.model import Buffer, Info, Status
from steelyard.objects._uploads import Sealed
from steelyard.options import CommitOptions

__all__ = ("ObjectWriter",)


class ObjectWriter(ProcessBound, Writer):
    """An open ingest. Until its commit, it is only on this machine, and as durable as an ingest of `LocalStore`.

    Args:
        local: the ingest in the spool.
        publish: makes the sealed bytes a blob, and ends the ingest.
    """

    def __init__(self, local: LocalWriter, publish: Callable[[Sealed, CommitOptions], Awaitable[Info]]) -> None:
        self._open = local
        self._publish = publish
        self._ended = False

    @property
    def ref(self) -> str:
        return self._open.ref

    @property
    def offset(self) -> int:
        return self._open.offset

    async def write(self, data: Buffer) -> None:
        await self._local.write(data)

    async def copy_from(
        self, file: int, offset: int, most: int | None, report: Callable[[], object] | None = None
    ) -> None:
        """Append bytes of a file, in one hop; see `LocalWriter.copy_from`."""
        await self._local.copy_from(file, offset, most, report)

    async def digest(self) -> Digest:
        return await self._local.digest()

    async def status(self) -> Status:
        return await self._local.status()

    async def truncate(self, size: int) -> None:
        await self._local.truncate(size)

    async def sync(self) -> None:
        await self._local.sync()

    async def _commit(self, options: CommitOptions) -> Info:
        # CANCEL: the ingest is kept, and the parts that the server has are noted. The next commit continues the upload.
        local = self._local
        try:
            digest, size, path = await local.seal(options)
            try:
                return await self._publish(Sealed(digest=digest, size=size, path=path, name=self.ref), options)
            finally:
                self._ended = True
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        await self._open.aclose()

    @property
    def _local(self) -> LocalWriter:
        if self._ended:
            raise WriterClosed(
                self.ref
            )  # its own commit has removed the ingest, which the spool would report as aborted
        return self._open
