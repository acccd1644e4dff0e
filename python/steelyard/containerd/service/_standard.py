"""The standard services beside our own: health, and reflection."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from steelyard.containerd.service import _messages as messages
from steelyard.containerd.service._call import ACTIVE_CHECK_SECONDS, Call
from steelyard.containerd.service._codes import Busy
from steelyard.containerd.service._interceptor import Interceptor
from steelyard.errors import NotFound

__all__ = ("HEALTH", "REFLECTION", "Health", "Reflection")

HEALTH = "grpc.health.v1.Health"
REFLECTION = "grpc.reflection.v1alpha.ServerReflection"


class Health:
    """SERVING, until the server drains.

    Args:
        services: the services that it answers for, beside the server as a whole.
        watchers: how many Watch calls there may be; each has a thread.
    """

    def __init__(self, services: Sequence[str], *, watchers: int) -> None:
        self._services = {"", *services}
        self._changed = threading.Condition()
        self._serving = True
        self._most = watchers
        self._watchers = threading.Semaphore(watchers)

    def handlers(self, interceptor: Interceptor) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the methods, by name."""
        return {
            "Check": interceptor.one(f"/{HEALTH}/Check", self.check),
            "Watch": interceptor.many(f"/{HEALTH}/Watch", self.watch),
        }

    def drain(self) -> None:
        """Say NOT_SERVING from now on, and end the calls that watch for it."""
        with self._changed:
            self._serving = False
            self._changed.notify_all()

    def check(self, call: Call, data: bytes) -> bytes:
        """Return the state of the service."""
        call.subject = messages.parse(health_pb2.HealthCheckRequest, data).service
        if call.subject not in self._services:
            raise NotFound(call.subject, kind="service")
        return self._response(call.subject)

    def watch(self, call: Call) -> None:
        """Send the state of the service, and each change of it."""
        call.subject = messages.parse(health_pb2.HealthCheckRequest, call.receive_first()).service
        if not self._watchers.acquire(blocking=False):
            raise Busy(f"{self._most} calls watch the health of the service, the most there may be", limit="watchers")
        try:
            call.send(self._response(call.subject))
            with self._changed:
                while self._serving and call.is_active():
                    self._changed.wait(ACTIVE_CHECK_SECONDS)
            call.send(self._response(call.subject))
        finally:
            self._watchers.release()

    def _response(self, service: str) -> bytes:
        kinds = health_pb2.HealthCheckResponse
        if service not in self._services:
            return kinds(status=kinds.SERVICE_UNKNOWN).SerializeToString()
        return kinds(status=kinds.SERVING if self._serving else kinds.NOT_SERVING).SerializeToString()


class Reflection:
    """Describes the services and their messages to tools."""

    def __init__(self, services: Sequence[str]) -> None:
        self._servicer = reflection.ReflectionServicer(services)

    def handlers(self, interceptor: Interceptor) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """Return the methods, by name."""
        name = "ServerReflectionInfo"
        return {name: interceptor.many(f"/{REFLECTION}/{name}", self.reflect)}

    def reflect(self, call: Call) -> None:
        """Answer each question."""
        for response in self._servicer.ServerReflectionInfo(_questions(call), None):  # type: ignore[arg-type]  # it looks at no context
            call.send(response.SerializeToString())


def _questions(call: Call) -> Iterator[reflection_pb2.ServerReflectionRequest]:
    while (data := call.receive()) is not None:
        yield messages.parse(reflection_pb2.ServerReflectionRequest, data)
