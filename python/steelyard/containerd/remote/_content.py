"""The calls of the content service that have one answer, and the listing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import Any

from anyio.lowlevel import checkpoint

from steelyard._runtime.concurrent import map_concurrently
from steelyard._runtime.fork import Process
from steelyard.containerd.remote._calls import GRACE, Limits, answers, ask
from steelyard.containerd.remote._channel import Connection
from steelyard.containerd.remote._errors import About
from steelyard.containerd.remote._filters import for_server
from steelyard.containerd.remote._messages import method
from steelyard.digest import Digest
from steelyard.errors import NotFound
from steelyard.filters import info_fields
from steelyard.filters._async import choose, compiled
from steelyard.model import Info, Labels, Status
from steelyard.options import label_keys

__all__ = ("Content",)

_LOOKUPS_AT_ONCE = 32


class Content:
    """Calls about blobs and ingests that do not transfer their bytes."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection, self._limits = connection, limits

    async def info(self, digest: Digest) -> Info:
        """Return the info of a blob; see `Manager.info`."""
        info: Info
        [info] = await self._ask("Info", "blob", str(digest), digest=str(digest))
        return info

    async def infos(self, digests: Iterable[Digest]) -> dict[Digest, Info]:
        """Return the info of each stored digest, with several lookups at a time."""
        found: dict[Digest, Info] = {}

        async def look_up(digest: Digest) -> None:
            with suppress(NotFound):
                found[digest] = await self.info(digest)

        await map_concurrently(dict.fromkeys(digests), look_up, concurrency=_LOOKUPS_AT_ONCE)
        return found

    async def update(self, info: Info, fieldpaths: Sequence[str]) -> Info:
        """Set a blob's labels; see `Manager.update`."""
        label_keys(tuple(fieldpaths))  # refuses wrong ones
        request = {
            "info": {"digest": str(info.digest), "labels": dict(Labels(info.labels))},
            "update_mask": ["labels"] if "labels" in fieldpaths else fieldpaths,
        }
        changed: Info
        [changed] = await self._send("Update", "blob", str(info.digest), request, grace=GRACE)
        return changed

    async def walk(self, filters: Sequence[str]) -> AsyncGenerator[Info, None]:
        """Iterate over blobs in the server's order; see `Manager.walk`."""
        chosen = await compiled(filters)
        request = {"filters": for_server("blob", filters)}
        about = About(kind="blob", name="", call="List")
        process = Process()
        batches = answers(self._connection, method("Content", "List"), request, about, self._limits)
        async with aclosing(batches):
            async for batch in batches:
                for info in await choose(chosen, batch, info_fields) if filters else batch:
                    yield info
                    if not process.is_current:
                        process.check(self._connection.address)
                await checkpoint()

    async def delete(self, digest: Digest) -> None:
        """Delete a blob; see `Manager.delete`."""
        await self._ask("Delete", "blob", str(digest), grace=GRACE, digest=str(digest))

    async def status(self, ref: str) -> Status:
        """Return the status of an ingest; see `IngestManager.status`."""
        status: Status
        [status] = await self._ask("Status", "ingest", ref, ref=ref)
        return status

    async def statuses(self, filters: Sequence[str]) -> list[Status]:
        """Return the statuses of ingests. The server may leave out ingests that do not match the filters."""
        return await self._ask("ListStatuses", "ingest", "", filters=for_server("ingest", filters))

    async def abort(self, ref: str) -> None:
        """Discard an ingest; see `IngestManager.abort`."""
        await self._ask("Abort", "ingest", ref, grace=GRACE, ref=ref)

    async def _ask(self, call: str, kind: str, about: str, *, grace: float = 0.0, **fields: Any) -> list[Any]:
        return await self._send(call, kind, about, fields, grace=grace)

    async def _send(self, call: str, kind: str, name: str, request: dict[str, Any], *, grace: float) -> list[Any]:
        about = About(kind=kind, name=name, call=call)
        return await ask(self._connection, method("Content", call), request, about, self._limits, grace=grace)
