"""An upload in a process that kills itself: python killed.py STORE STEP KIND. It prints the path of the upload before its last request.

The step is the number of the durable call, of those that the request makes, before which the process ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import anyio

from steelyard import LocalStore
from steelyard.local.leases import LocalLeases
from steelyard.local.writer import LocalWriter
from steelyard.web.uploads import Upload, Uploads
from web_uploads.client import Client, checksum

DATA = bytes(range(256)) * 12000
HALF = len(DATA) // 4


def armed(step: int) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
    """Return a wrapper for durable calls, which together count their steps."""
    left = step

    def passed() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def wrap(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(call)
        async def counted(*args: Any, **more: Any) -> Any:
            passed()
            return await call(*args, **more)

        return counted

    return wrap


async def main(place: str, step: int, kind: str) -> None:
    async with LocalStore(place) as store:

        async def on_complete(upload: Upload) -> None:
            await store.images.assign({f"files/{upload.id}": upload.descriptor}, overwrite=True)

        client = Client(Uploads(store, on_complete=on_complete))
        path = await client.create(len(DATA))
        await client.patch(path, 0, DATA[:HALF])
        print(path, flush=True)
        wrap = armed(step)
        for owner, names in ((LocalWriter, "sync _commit aclose"), (LocalLeases, "add remove")):
            for name in names.split():
                setattr(owner, name, wrap(getattr(owner, name)))
        fields = {"upload_checksum": checksum(DATA[HALF:])} if kind == "checksum" else {}
        pieces = [DATA[place : place + 50_000] for place in range(HALF, len(DATA), 50_000)]
        answer = await client.patch(path, HALF, pieces, **fields)
        print(answer.status, flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3])
