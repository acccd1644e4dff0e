"""`containerd.services.leases.v1.Leases`: the leases of a store that collects its own garbage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from steelyard.containerd._proto import leases_pb2
from steelyard.containerd.service import _messages as messages
from steelyard.containerd.service._call import Call
from steelyard.containerd.service._content import EMPTY
from steelyard.containerd.service._interceptor import Interceptor
from steelyard.containerd.service._loop_store import AnyStore
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, Unsupported
from steelyard.leases import EXPIRES_LIMIT, check_lease
from steelyard.model import Lease

__all__ = ("SERVICE", "Leases")

SERVICE = "containerd.services.leases.v1.Leases"

EXPIRE = "containerd.io/gc.expire"
"""The label of a lease with the time at which it ends. In a store that is `Lease.expires_at`, and no label."""

_SOONEST = timedelta(microseconds=1)
_BLOB, _INGEST = "content", "ingests"
_OTHER_TYPES = ("snapshots", "images")
"""The types of resources that containerd has, and a store has not."""


class Leases:
    """The six calls, on a store."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store

    def handlers(self, interceptor: Interceptor) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the methods, by name."""
        ones = {
            "Create": self.create,
            "Delete": self.delete,
            "List": self.list,
            "AddResource": self.add_resource,
            "DeleteResource": self.delete_resource,
            "ListResources": self.list_resources,
        }
        return {name: interceptor.one(f"/{SERVICE}/{name}", one) for name, one in ones.items()}

    def create(self, call: Call, data: bytes) -> bytes:
        """Create a lease. Without the label for its end it lasts for the longest time that a lease may have."""
        request = messages.parse(leases_pb2.CreateRequest, data)
        call.subject = request.id
        labels = dict(messages.labels_value(request.labels, exact=True))
        expires = _expires(labels.pop(EXPIRE, None))
        lease = self._store.leases.create(request.id or None, expires=expires, labels=labels)
        call.subject = lease.id
        return leases_pb2.CreateResponse(lease=_message(lease)).SerializeToString()

    def delete(self, call: Call, data: bytes) -> bytes:
        """End a lease. Only `Store.collect` collects garbage, so `sync` has no effect."""
        self._store.leases.delete(_lease(call, messages.parse(leases_pb2.DeleteRequest, data).id))
        return EMPTY

    def list(self, call: Call, data: bytes) -> bytes:
        """Return all matching leases."""
        del call
        request = messages.parse(leases_pb2.ListRequest, data)
        leases = self._store.leases.list(*messages.filters_value(request.filters))
        return leases_pb2.ListResponse(leases=map(_message, leases)).SerializeToString()

    def add_resource(self, call: Call, data: bytes) -> bytes:
        """Have a lease protect a blob or an ingest."""
        return _change(call, messages.parse(leases_pb2.AddResourceRequest, data), self._store.leases.add)

    def delete_resource(self, call: Call, data: bytes) -> bytes:
        """Have a lease no longer protect a blob or an ingest."""
        return _change(call, messages.parse(leases_pb2.DeleteResourceRequest, data), self._store.leases.remove)

    def list_resources(self, call: Call, data: bytes) -> bytes:
        """Return the blobs and ingests that a lease protects."""
        lease = _lease(call, messages.parse(leases_pb2.ListResourcesRequest, data).id)
        found = self._store.leases.resources(lease)
        resources = [leases_pb2.Resource(id=str(digest), type=_BLOB) for digest in found.blobs]
        resources += [leases_pb2.Resource(id=ref, type=_INGEST) for ref in found.refs]
        return leases_pb2.ListResourcesResponse(resources=resources).SerializeToString()


def _change(
    call: Call, request: leases_pb2.AddResourceRequest | leases_pb2.DeleteResourceRequest, change: Callable[..., None]
) -> bytes:
    lease = _lease(call, request.id)
    digests, refs = _resource(request.resource)
    change(lease, digests=digests, refs=refs)
    return EMPTY


def _lease(call: Call, lease: str) -> str:
    call.subject = lease
    return check_lease(lease)


def _expires(text: str | None) -> timedelta:
    """Return the time that a lease has, by its label. One that has ended already ends at once, as in containerd.

    Raises:
        InvalidArgument: the label has no time (RFC 3339).
    """
    if text is None:
        return EXPIRES_LIMIT
    end = None
    with suppress(ValueError):
        end = datetime.fromisoformat(text)
    if end is None or end.tzinfo is None:
        raise InvalidArgument(f"label {EXPIRE}={text[:100]!r}: expected a time such as 2030-01-31T12:00:00Z")
    return max(_SOONEST, end - datetime.now(UTC))


def _message(lease: Lease) -> leases_pb2.Lease:
    labels = dict(lease.labels)
    if lease.expires_at is not None:
        labels[EXPIRE] = lease.expires_at.isoformat().replace("+00:00", "Z")
    return leases_pb2.Lease(id=lease.id, created_at=messages.time_message(lease.created_at), labels=labels)


def _resource(resource: leases_pb2.Resource) -> tuple[list[Digest], list[str]]:
    """Return the digest, or the ref, of a resource.

    Raises:
        InvalidArgument: there is no such type, or the digest is invalid.
        Unsupported: a store has no resources of that type.
    """
    match resource.type:
        case "content":
            return [Digest.parse(resource.id)], []
        case "ingests":
            return [], [resource.id]
        case kind if kind.partition("/")[0] in _OTHER_TYPES:
            raise Unsupported("the service", operation=f"a lease of {kind[:100]}; it has content and ingests")
    raise InvalidArgument(f"type of resource {resource.type[:100]!r}: expected content or ingests")
