"""`containerd.services.events.v1.Events`: the changes of this process, as containerd's events."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from steelyard import filters
from steelyard.containerd._namespaces import NAMESPACE
from steelyard.containerd._proto import changes_pb2, events_pb2, name_changes_pb2
from steelyard.containerd.service import _messages as messages
from steelyard.containerd.service._call import ACTIVE_CHECK_SECONDS, Call
from steelyard.containerd.service._codes import Busy, Exhausted
from steelyard.containerd.service._interceptor import Interceptor
from steelyard.containerd.service._loop_store import AnyStore
from steelyard.events import Event
from steelyard.filters import Fields

__all__ = ("SERVICE", "Events")

SERVICE = "containerd.services.events.v1.Events"

_TYPES = ("type==created", "type==deleted", "type==name_set", "type==name_moved", "type==name_removed")
"""The events that containerd has, too."""

Change = (
    changes_pb2.ContentCreate
    | changes_pb2.ContentDelete
    | name_changes_pb2.ImageCreate
    | name_changes_pb2.ImageUpdate
    | name_changes_pb2.ImageDelete
)


class Events:
    """The events of a store.

    Args:
        store: the store.
        subscribers: how many Subscribe calls there may be; each has a thread.
    """

    def __init__(self, store: AnyStore, *, subscribers: int) -> None:
        self._store = store
        self._most = subscribers
        self._subscribers = threading.Semaphore(subscribers)
        self._draining = threading.Event()

    def handlers(self, interceptor: Interceptor) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the methods, by name."""
        return {"Subscribe": interceptor.many(f"/{SERVICE}/Subscribe", self.subscribe)}

    def drain(self) -> None:
        """End the calls soon."""
        self._draining.set()

    def subscribe(self, call: Call) -> None:
        """Send each event that matches, as long as the client listens."""
        request = messages.parse(events_pb2.SubscribeRequest, call.receive_first())
        chosen = filters.compile(*messages.filters_value(request.filters))
        namespace = call.header(NAMESPACE) or "default"
        if not self._subscribers.acquire(blocking=False):
            raise Busy(f"{self._most} calls wait for events, the most there may be", limit="subscribers")
        try:
            with closing(self._store.events(*_TYPES)) as events:
                while call.is_active() and not self._draining.is_set():
                    found = events.wait(ACTIVE_CHECK_SECONDS)
                    if found is None:
                        return
                    for event in found:
                        if event.missed:
                            raise Exhausted(
                                f"the client is too slow: {event.missed} events were dropped", limit="events"
                            )
                        topic, change = _change(event)
                        if chosen.matches(_fields(namespace, topic, change)):
                            call.send(_envelope(event, namespace, topic, change))
        finally:
            self._subscribers.release()


def _change(event: Event) -> tuple[str, Change]:
    """Return the topic and the message of an event."""
    name, labels = event.name or "", dict(event.labels)
    match event.type:
        case "created":
            return "/content/create", changes_pb2.ContentCreate(digest=str(event.digest), size=event.size or 0)
        case "deleted":
            return "/content/delete", changes_pb2.ContentDelete(digest=str(event.digest))
        case "name_removed":
            return "/images/delete", name_changes_pb2.ImageDelete(name=name)
        case _ if event.previous is None:
            return "/images/create", name_changes_pb2.ImageCreate(name=name, labels=labels)
        case _:
            return "/images/update", name_changes_pb2.ImageUpdate(name=name, labels=labels)


def _fields(namespace: str, topic: str, change: Change) -> Fields:
    """Return the fields that containerd's filters of events have."""

    def field(path: tuple[str, ...]) -> str | None:
        match path:
            case ("namespace",):
                return namespace
            case ("topic",):
                return topic
            case ("event", "labels", _, *_):
                labels = getattr(change, "labels", {})
                key = ".".join(path[2:])
                return labels.get(key)
            case ("event", ("digest" | "name") as name):
                return getattr(change, name, None)
            case _:
                return None

    return field


def _envelope(event: Event, namespace: str, topic: str, change: Change) -> bytes:
    # containerd names the type without a host.
    packed = AnyMessage(type_url=change.DESCRIPTOR.full_name, value=change.SerializeToString())
    envelope = events_pb2.Envelope(
        timestamp=messages.time_message(event.at), namespace=namespace, topic=topic, event=packed
    )
    return envelope.SerializeToString()
