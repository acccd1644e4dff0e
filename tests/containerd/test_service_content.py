"""The calls of the content service, one by one, by a plain client."""

from __future__ import annotations

import pytest

from steelyard.containerd.proto import content_pb2 as pb
from steelyard.containerd.service import Server

from .wire import off_loop, sha256, wire

pytestmark = pytest.mark.anyio
DATA = bytes(range(256)) * 20


async def test_a_blob_written_in_pieces_is_read_back(service: Server) -> None:
    def client() -> None:
        with wire(service.address) as w:
            talk = w.talk()
            talk.ask(pb.STAT, ref="a/b", total=len(DATA))
            talk.ask(pb.WRITE, data=DATA[:1000])
            talk.ask(pb.WRITE, data=DATA[1000:], offset=1000)
            last = talk.ask(pb.COMMIT, offset=len(DATA), expected=sha256(DATA))

            assert (sha256(DATA), len(DATA)) == (last.digest, last.offset)
            assert [] == talk.end()
            assert DATA == w.read(last.digest)

    await off_loop(client)
