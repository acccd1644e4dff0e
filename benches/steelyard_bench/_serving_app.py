"""The application that `serving.py` measures: one blob, verified, unverified or from memory.

`STEELYARD_BENCH_STORE` is the root of the store, `STEELYARD_BENCH_BLOBS` the names and digests, as JSON. ``/memory/<name>`` sends the bytes from a list in
memory that was made when they were first asked for, in pieces of 1 MiB, with the headers that a response needs and no others.
"""

from __future__ import annotations

import json
import os

from steelyard.local import LocalStore
from steelyard.web import BlobResponse, Receive, Scope, Send

__all__ = ("app",)

_PIECE = 1 << 20

_store = LocalStore(os.environ["STEELYARD_BENCH_STORE"])
_blobs: dict[str, str] = json.loads(os.environ["STEELYARD_BENCH_BLOBS"])
_memory: dict[str, list[bytes]] = {}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer ``/<way>/<name>``; the ways are ``verified``, ``unverified`` and ``memory``."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    way, _, name = scope["path"].strip("/").partition("/")
    if way == "memory" and name in _blobs:
        await _from_memory(name, send)
    else:
        digest = _blobs.get(name, "")
        await BlobResponse(_store, digest, content_type="text/plain", verify=way == "verified")(scope, receive, send)


async def _from_memory(name: str, send: Send) -> None:
    pieces = _memory.get(name)
    if pieces is None:
        data = await _store.get(_blobs[name])
        pieces = _memory[name] = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
    size = sum(map(len, pieces))
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    last = len(pieces) - 1
    for number, piece in enumerate(pieces):
        await send({"type": "http.response.body", "body": piece, "more_body": number < last})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    async with _store:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
