"""The Write call: one ingest, driven by the messages of one stream.

Each message is answered before the next one is read. The rules that the types do not show are in docs/containerd.md.
"""

from __future__ import annotations

from steelyard.containerd._proto import content_pb2
from steelyard.containerd.service import _messages as messages
from steelyard.containerd.service._call import Call
from steelyard.containerd.service._loop_store import AnyIngest, AnyStore
from steelyard.containerd.service._metrics import Meters
from steelyard.digest import Algorithm, Digest
from steelyard.errors import NotFound, OutOfRange, UnexpectedSize
from steelyard.model import Buffer
from steelyard.options import IngestOptions, check_ref

__all__ = ("ALGORITHM", "write")

ALGORITHM = "steelyard-algorithm"
"""A header of our own client: what the digests in the responses are to be of, where `expected` does not say."""

Request = content_pb2.WriteContentRequest


def write(store: AnyStore, call: Call, meters: Meters, *, exact: bool) -> None:
    """Serve a Write call.

    However it ends, the ingest is closed, which keeps what it holds, unless it was committed or aborted.
    """
    request, data = messages.parse_write(call.receive_first())
    call.subject = check_ref(request.ref)
    stream = _Stream(store, call, request, exact=exact)
    meters.ingests(+1)
    try:
        while stream.answer(request, data):
            data = b""  # freed before the next one is waited for
            message = call.receive()
            if message is None:
                return
            request, data = messages.parse_write(message)
            del message
    finally:
        meters.ingests(-1)
        stream.close()


def _wrong_offset(ref: str, offset: int, current: int) -> OutOfRange:
    error = OutOfRange(ref, offset=offset, size=current)
    error.args = (f"ingest {ref}: write at offset {offset}, expected {current}, or 0 to start over",)
    return error


class _Stream:
    """An open ingest, and what the client has said of it so far."""

    def __init__(self, store: AnyStore, call: Call, first: Request, *, exact: bool) -> None:
        self._store = store
        self._call = call
        self._exact = exact
        self._ref = first.ref
        self._total = first.total  # one that is negative is met by no size, until a later message says another
        self._expected: Digest | None = None
        self._take_hints(first)
        self._ingest: AnyIngest = self._open(self._total if self._total > 0 else None)

    def _open(self, size: int | None) -> AnyIngest:
        algorithm = self._call.header(ALGORITHM)
        options = IngestOptions.parse(
            self._ref,
            size=size,
            expected=self._expected,
            algorithm=None if algorithm is None else Algorithm.parse(algorithm),
        )
        return self._store.ingest(options)

    def answer(self, request: Request, data: Buffer) -> bool:
        """Do what a message asks for and respond; return whether another one may follow.

        As containerd has it, a later ref, the data of a STAT, and an action that there is not, change nothing.
        """
        before = self._expected
        self._take_hints(request)
        if self._expected is not None and self._expected != before:
            self._refuse_stored(self._expected)
        match request.action:
            case content_pb2.WRITE:
                self._append(request.offset, data)
            case content_pb2.COMMIT:
                self._append(request.offset, data)
                self._commit(request)
                return False
        self._respond(request.action)
        return True

    def close(self) -> None:
        """Free the ref; what is there stays, durably."""
        self._ingest.close()

    def _take_hints(self, request: Request) -> None:
        """Take over the total and the expected digest of a message; what it does not say stays as it was."""
        if request.total > 0:
            self._total = request.total
        if request.expected:
            self._expected = Digest.parse(request.expected)

    def _refuse_stored(self, expected: Digest) -> None:
        """End the ingest if the blob that it is to become is there already.

        Only a store that opens an ingest protects the blob that it finds, by the lease or for the grace time. So the ingest is opened
        again, which fails. If the blob is gone by then, the ingest goes on.
        """
        try:
            self._store.info(expected)
        except NotFound:
            return
        self._ingest.status()  # if it was aborted, the ref may be another's by now
        self._ingest.close()
        self._ingest = self._open(None)

    def _append(self, offset: int, data: Buffer) -> None:
        current = self._ingest.status().offset  # not `offset`, which also an aborted one still has
        if offset == 0 and current:
            self._ingest.truncate(0)
        elif offset > 0 and offset != current:
            raise _wrong_offset(self._ref, offset, current)
        if memoryview(data):
            self._ingest.write(data)

    def _commit(self, request: Request) -> None:
        status = self._ingest.status()
        if self._total < 0:
            raise UnexpectedSize(self._ref, expected=self._total, actual=status.offset)
        labels = messages.labels_value(request.labels, exact=self._exact)
        info = self._ingest.commit(self._total or None, self._expected, labels or None)
        response = content_pb2.WriteContentResponse(
            action=content_pb2.COMMIT,
            started_at=messages.time_message(status.started_at),
            updated_at=messages.time_message(info.updated_at),
            offset=info.size,
            total=self._total or info.size,
            digest=str(info.digest),
        )
        self._call.send_last(response.SerializeToString())

    def _respond(self, action: content_pb2.WriteAction) -> None:
        status = self._ingest.status()
        response = content_pb2.WriteContentResponse(
            action=action,
            started_at=messages.time_message(status.started_at),
            updated_at=messages.time_message(status.updated_at),
            offset=status.offset,
            total=self._total or status.total or 0,
            digest=str(self._ingest.digest()),
        )
        self._call.send(response.SerializeToString())
