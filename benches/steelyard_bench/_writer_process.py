"""Store small blobs in this process until its input ends, and tell how long each call took.

``python -m steelyard_bench._writer_process JOB`` prints a line when it has started, and a `Pauses` for each kind of call at its end.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import msgspec

from steelyard.containerd import RemoteStore
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.local import LocalStore
from steelyard.model import Descriptor
from steelyard_bench._inside import Durability

__all__ = ("Pauses", "Writing", "pauses_of")

_SIZE = 4096
_MEDIA_TYPE = "application/octet-stream"


class Writing(msgspec.Struct, frozen=True, kw_only=True):
    """The store to write to.

    Attributes:
        root: of a local store, or None.
        durability: of a local store.
        address: of a server, or None.
    """

    root: str | None = None
    durability: Durability = "power-loss"
    address: str | None = None


class Pauses(msgspec.Struct, frozen=True, kw_only=True):
    """The times of one kind of call, in seconds.

    Attributes:
        count: how many calls.
        p50: the median.
        p99: the time that all but one in a hundred keep to.
        p999: the time that all but one in a thousand keep to.
        longest: the longest.
    """

    count: int
    p50: float
    p99: float
    p999: float
    longest: float


def pauses_of(times: list[float]) -> Pauses:
    """Return what is told of times, at least one."""
    ordered = sorted(times)
    at = [ordered[int(len(ordered) * share)] for share in (0.5, 0.99, 0.999)]
    return Pauses(count=len(ordered), p50=at[0], p99=at[1], p999=at[2], longest=ordered[-1])


async def _run(job: Writing) -> dict[str, Pauses]:
    async with _store(job) as store:
        calls = _calls(store)
        times: dict[str, list[float]] = {kind: [] for kind in calls}
        sys.stdout.write("\n")
        sys.stdout.flush()
        while not select.select([sys.stdin], [], [], 0)[0]:
            for kind, call in calls.items():
                data = os.urandom(_SIZE)
                begun = time.perf_counter()
                await call(data)
                times[kind].append(time.perf_counter() - begun)
    return {kind: pauses_of(taken) for kind, taken in times.items() if taken}


@asynccontextmanager
async def _store(job: Writing) -> AsyncIterator[Store]:
    if job.address is None:
        async with LocalStore(job.root or "", durability=job.durability) as store:
            yield store
        return
    async with RemoteStore(job.address) as remote:
        lease = await remote.leases.create(expires=timedelta(days=1))
        yield remote.with_lease(lease.id)


def _calls(store: Store) -> Mapping[str, Callable[[bytes], Awaitable[object]]]:
    """Return the calls to measure."""

    async def set_name(data: bytes) -> None:
        target = Descriptor(digest=Digest.parse(f"sha256:{data[:32].hex()}"), size=_SIZE, media_type=_MEDIA_TYPE)
        await store.images.assign({"writer": target}, overwrite=True)

    return {
        "put": store.put,
        "put with a label": lambda data: store.put(data, labels={"writer": "1"}),
        "set an image name": set_name,
    }


def _main() -> None:
    pauses = anyio.run(_run, msgspec.json.decode(sys.argv[1], type=Writing))
    sys.stdout.write(msgspec.json.encode(pauses).decode())


if __name__ == "__main__":
    _main()
