"""Receive a blob from a server whose connection drops, and resume the download.

The server is a small TCP server in this program: it reads an offset of 8 bytes, sends the rest, and drops the connection twice.
The ref names the download, so another run of the program would resume it, too.

    python examples/resume_download.py STORE
"""

from __future__ import annotations

import hashlib
import sys

import anyio
from anyio.abc import SocketStream

from steelyard import Digest, LocalStore, Store

CONTENT = b"".join(number.to_bytes(8, "big") for number in range(1_000_000))
DIGEST = Digest.parse(f"sha256:{hashlib.sha256(CONTENT).hexdigest()}")
CUTS = [3_000_000, 2_500_000]
"""After how many bytes the peer hangs up, first and second time."""


async def serve(connection: SocketStream) -> None:
    """Send the content from the offset that the peer asks for, and hang up early while there are cuts left."""
    async with connection:
        offset = int.from_bytes(await connection.receive(8), "big")
        end = offset + CUTS.pop(0) if CUTS else len(CONTENT)
        await connection.send(CONTENT[offset:end])


async def fetch(store: Store, port: int) -> bool:
    """Fetch once, from where the ingest stands; return whether the blob is complete."""
    # Leaving the writer, by whatever way, makes the bytes durable and keeps the ingest for the next try.
    async with store.writer(f"download/{DIGEST}", size=len(CONTENT), expected=DIGEST) as writer:
        print(f"from {writer.offset} of {len(CONTENT)}")
        async with await anyio.connect_tcp("127.0.0.1", port) as connection:
            await connection.send(writer.offset.to_bytes(8, "big"))
            async for chunk in connection:
                await writer.send(chunk)
        if writer.offset < len(CONTENT):
            return False
        # Verifies size and digest; a peer that sent something else gets UnexpectedDigest.
        await writer.commit(size=len(CONTENT), expected=DIGEST)
        return True


async def main(root: str) -> None:
    """Serve and fetch in one program."""
    async with LocalStore(root) as store, anyio.create_task_group() as tasks:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        tasks.start_soon(listener.serve, serve)
        port: int = listener.extra(anyio.abc.SocketAttribute.local_port)
        while not await store.exists(DIGEST) and not await fetch(store, port):
            print("the line dropped")
        tasks.cancel_scope.cancel()
        print(f"stored {DIGEST}")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
