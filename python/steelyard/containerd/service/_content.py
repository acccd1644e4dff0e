"""`containerd.services.content.v1.Content`, but for Write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

from steelyard.containerd._proto import content_pb2
from steelyard.containerd.service import _messages as messages
from steelyard.containerd.service._call import Call
from steelyard.containerd.service._interceptor import Interceptor
from steelyard.containerd.service._loop_store import AnyStore
from steelyard.containerd.service._metrics import Meters
from steelyard.containerd.service._write import write
from steelyard.digest import Digest
from steelyard.errors import NotFound, OutOfRange
from steelyard.leases import check_lease
from steelyard.model import Info

__all__ = ("SERVICE", "Content")

SERVICE = "containerd.services.content.v1.Content"

PAGE = 100
"""The most blobs of a List message: containerd's number."""

PAGE_BYTES = 1 << 20
"""A List message is sent when it has come to this size: blobs may have many labels."""

EMPTY = Empty().SerializeToString()

EXACT = "steelyard-exact"
"""A header of our own client: labels mean what they say, also those with an empty value, which containerd removes, and an Abort
or Delete of what is not there is NOT_FOUND."""

LEASE = "containerd-lease"
"""A header of containerd's clients: the ID of the lease that protects what a Write stores, and what it finds to be stored. What a Delete or an
Abort removes is taken out of that lease."""


class Content:
    """The nine calls, on a store.

    Args:
        store: the store.
        read_bytes: the most data of a Read message.
        meters: what is counted.
        leases: whether a call may be under a lease of the store.
    """

    def __init__(self, store: AnyStore, *, read_bytes: int, meters: Meters, leases: bool) -> None:
        self._has_leases = leases
        self._store = store
        self._read_bytes = read_bytes
        self._meters = meters

    def handlers(self, interceptor: Interceptor) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the methods, by name."""
        ones: dict[str, Callable[[Call, bytes], bytes]] = {
            "Info": self.info,
            "Update": self.update,
            "Delete": self.delete,
            "Status": self.status,
            "ListStatuses": self.list_statuses,
            "Abort": self.abort,
        }
        manies = {"List": self.list, "Read": self.read, "Write": self.write}
        return {name: interceptor.one(f"/{SERVICE}/{name}", one) for name, one in ones.items()} | {
            name: interceptor.many(f"/{SERVICE}/{name}", many) for name, many in manies.items()
        }

    def info(self, call: Call, data: bytes) -> bytes:
        """Return the info of a blob."""
        digest = _digest(call, messages.parse(content_pb2.InfoRequest, data).digest)
        info = messages.info_message(self._store.info(digest))
        return content_pb2.InfoResponse(info=info).SerializeToString()

    def update(self, call: Call, data: bytes) -> bytes:
        """Set the labels of a blob."""
        request = messages.parse(content_pb2.UpdateRequest, data)
        digest = _digest(call, request.info.digest)
        labels = messages.labels_value(request.info.labels, exact=call.header(EXACT) is not None)
        now = messages.EPOCH
        given = Info(digest=digest, size=0, created_at=now, updated_at=now, labels=labels)
        info = messages.info_message(self._store.update(given, *request.update_mask.paths))
        return content_pb2.UpdateResponse(info=info).SerializeToString()

    def list(self, call: Call) -> None:
        """Stream the matching blobs."""
        request = messages.parse(content_pb2.ListContentRequest, call.receive_first())
        page: list[content_pb2.Info] = []
        size = 0
        for infos in self._store.pages(*messages.filters_value(request.filters)):
            for info in infos:
                page.append(messages.info_message(info))
                size += page[-1].ByteSize()
                if len(page) == PAGE or size >= PAGE_BYTES:
                    call.send(content_pb2.ListContentResponse(info=page).SerializeToString())
                    page, size = [], 0
        if page:
            call.send(content_pb2.ListContentResponse(info=page).SerializeToString())

    def delete(self, call: Call, data: bytes) -> bytes:
        """Delete a blob."""
        digest = _digest(call, messages.parse(content_pb2.DeleteContentRequest, data).digest)
        with _absent_is_fine(call):
            self._under_lease(call).delete(digest)
        return EMPTY

    def read(self, call: Call) -> None:
        """Stream a range of a blob. As containerd has it, offsets in responses count from the start of the range."""
        request = messages.parse(content_pb2.ReadContentRequest, call.receive_first())
        digest = _digest(call, request.digest)
        blob = self._store.blob(digest)
        try:
            start = max(0, request.offset)
            if start > blob.size:
                raise OutOfRange(digest, offset=start, size=blob.size)
            size = blob.size - start
            if request.size > 0:
                size = min(size, request.size)
            done = 0
            while done < size:
                data = blob.read_at(start + done, min(self._read_bytes, size - done))
                send = call.send if done + len(data) < size else call.send_last
                send(messages.read_response(done, data))
                done += len(data)
        finally:
            blob.close()

    def status(self, call: Call, data: bytes) -> bytes:
        """Return the status of an ingest."""
        call.subject = messages.parse(content_pb2.StatusRequest, data).ref
        status = messages.status_message(self._store.status(call.subject))
        return content_pb2.StatusResponse(status=status).SerializeToString()

    def list_statuses(self, call: Call, data: bytes) -> bytes:
        """Return the statuses of all matching ingests."""
        del call
        request = messages.parse(content_pb2.ListStatusesRequest, data)
        statuses = [
            messages.status_message(status) for status in self._store.statuses(*messages.filters_value(request.filters))
        ]
        return content_pb2.ListStatusesResponse(statuses=statuses).SerializeToString()

    def write(self, call: Call) -> None:
        """Take an ingest's bytes, and publish it."""
        write(self._under_lease(call), call, self._meters, exact=call.header(EXACT) is not None)

    def abort(self, call: Call, data: bytes) -> bytes:
        """Discard an ingest."""
        call.subject = messages.parse(content_pb2.AbortRequest, data).ref
        with _absent_is_fine(call):
            self._under_lease(call).abort(call.subject)
        return EMPTY

    def _under_lease(self, call: Call) -> AnyStore:
        """Return the store with the lease of a call, if it has one."""
        lease = call.header(LEASE) if self._has_leases else None
        return self._store if lease is None else self._store.with_lease(check_lease(lease))


@contextmanager
def _absent_is_fine(call: Call) -> Iterator[None]:
    """Let what is not there count as removed, but for our own client.

    containerd keeps its record of an ingest whose Abort fails, and ends its collection at the first Delete that fails.
    """
    try:
        yield
    except NotFound:
        if call.header(EXACT) is not None:
            raise


def _digest(call: Call, text: str) -> Digest:
    digest = Digest.parse(text)
    call.subject = str(digest)
    return digest
