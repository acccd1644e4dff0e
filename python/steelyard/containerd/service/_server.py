"""The server: grpcio's synchronous server on its own threads."""

from __future__ import annotations

import errno
import logging
import os
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from anyio import CancelScope

from steelyard._runtime.calls import run
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.scopes import task_group
from steelyard._runtime.threads import Pool, refusable
from steelyard.containerd._grpc import require_threads
from steelyard.containerd.service._content import SERVICE as CONTENT
from steelyard.containerd.service._content import Content
from steelyard.containerd.service._events import SERVICE as EVENTS
from steelyard.containerd.service._events import Events
from steelyard.containerd.service._images import SERVICE as IMAGES
from steelyard.containerd.service._images import Images
from steelyard.containerd.service._interceptor import Interceptor
from steelyard.containerd.service._leases import SERVICE as LEASES
from steelyard.containerd.service._leases import Leases
from steelyard.containerd.service._loop_store import AnyStore, LoopCalls, LoopStore
from steelyard.containerd.service._metrics import Counting, Meters, Page, parse_metrics_address
from steelyard.containerd.service._socket import Place, parse_address, private_place
from steelyard.containerd.service._standard import HEALTH, REFLECTION, Health, Reflection
from steelyard.content import Store
from steelyard.errors import FailedPrecondition, InvalidArgument, StorageError
from steelyard.local import LocalStore

__all__ = ("Server",)

logger = logging.getLogger("steelyard.containerd")

_CONTAINERD = "containerd"
"""The program that collects the garbage of a store, where the store does not."""

_STEP_SECONDS = 0.25
_REFUSING = 16
"""Further threads: a call over the limit is refused on one of them, with a message."""


class Server(ProcessBound):
    """A store behind containerd's content protocol, on a Unix socket.

    ```python
    async with LocalStore("/srv/blobs") as store, Server(store, "/run/steelyard/content.sock"):
        await sleep_forever()
    ```

    Entering ``async with`` opens the socket for its owner and root only. Leaving it accepts no new call, gives running calls
    `grace_seconds` and then cancels them; ingests keep their bytes.

    Each call has a thread of the server. A `LocalStore` is called on that thread, any other store through the event
    loop in which the server was entered; do not block that loop.

    Args:
        store: an open store.
        address: the path of the socket, or ``unix:///PATH``. A missing directory is created with mode 0700.
        read_bytes: the most data of one message of a Read.
        message_bytes: the most bytes of a message, either way; a larger one is refused with RESOURCE_EXHAUSTED.
        calls: the most concurrent Write calls, and the most other concurrent calls; further calls are refused with UNAVAILABLE,
            after which clients try again. So writers, however many, leave room for other calls.
        idle_seconds: how long a call may wait for the client to send or take a message.
        wait_seconds: how long a store other than a `LocalStore` may take for one step.
        grace_seconds: how long running calls may take at the end.
        own_collector: whether the store collects its own garbage, by `Store.collect`. Then the service offers the leases of the store, and
            puts what a client writes under a lease into that lease. Never let a containerd have its content in such a store: it
            deletes what its own image names do not need. Without it the store is left to the collector of a containerd: that is noted
            durably before the socket is there, and `Store.collect` refuses from then on, until it is called with `take_back`.
        metrics_address: ``HOST:PORT`` of the metrics for Prometheus, or None. Port 0 selects a free port.

    Raises (when it is entered):
        FailedPrecondition: with `own_collector`, a containerd collects the store; without it, a service with `own_collector` has the
            store open.
        CollectionBusy: without `own_collector`, a collection of the store is running.
        StorageError: a server already answers on that path (EADDRINUSE), the path is not a socket (ENOTSOCK), the file
            system refused, or the system refuses the needed threads (EAGAIN).
        InvalidArgument: the address is not a path, or the path is too long for a socket.
    """

    def __init__(
        self,
        store: Store,
        address: str | os.PathLike[str],
        *,
        read_bytes: int = 1 << 20,
        message_bytes: int = 16 << 20,
        calls: int = 256,
        idle_seconds: float = 300,
        wait_seconds: float = 60,
        grace_seconds: float = 10,
        own_collector: bool = False,
        metrics_address: str | None = None,
    ) -> None:
        if not 0 < read_bytes <= message_bytes - 64:
            raise InvalidArgument(
                f"read_bytes {read_bytes}: expected 1 to {message_bytes - 64}, so that it fits a message"
            )
        if calls < 1:
            raise InvalidArgument(f"calls {calls}: expected 1 or more")
        self._store = store
        self._path = parse_address(address)
        self._read_bytes = read_bytes
        self._message_bytes = message_bytes
        self._most_calls = calls
        self._wait_seconds = wait_seconds
        self._grace_seconds = grace_seconds
        self._metrics_at = None if metrics_address is None else parse_metrics_address(metrics_address)
        self._meters = Meters() if metrics_address is None else Counting()
        self._page: Page | None = None
        self._interceptor = Interceptor(
            calls=calls, idle_seconds=idle_seconds, message_bytes=message_bytes, meters=self._meters
        )
        self._own_collector = own_collector
        self._offered = (CONTENT, IMAGES, EVENTS, *((LEASES,) if own_collector else ()))
        self._health = Health(self._offered, watchers=max(1, calls // 4))
        self._events: Events | None = None
        self._stack: AsyncExitStack | None = None

    @property
    def path(self) -> Path:
        """The path of the socket, absolute."""
        return self._path

    @property
    def address(self) -> str:
        """The address for gRPC clients."""
        return f"unix://{self._path}"

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the page for Prometheus, while it is there."""
        return None if self._page is None else self._page.address

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise FailedPrecondition(f"server {self._path}: it was open before; make another one")
        self._stack = AsyncExitStack()
        async with AsyncExitStack() as stack:
            await run(require_threads, self._path)
            place: Place = await run(stack.enter_context, private_place(self._path))
            if self._metrics_at is not None and isinstance(self._meters, Counting):
                self._page = Page(self._metrics_at, self._meters)
                stack.push_async_callback(run, self._page.close)
            await self._store._serve(None if self._own_collector else _CONTAINERD)  # noqa: SLF001  # a hook of the interface
            store = await self._blocking(stack)
            pool = Pool(2 * self._most_calls + _REFUSING, thread_name_prefix="containerd-call")
            running = _Running(self._made(store, pool), pool, place, self._interceptor)
            stack.push_async_callback(self._end, running)
            await run(running.start)
            self._stack = stack.pop_all()
        logger.info("serving on %s", self._path, extra={"fields": {"address": str(self._path)}})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stack is not None:
            await self._stack.aclose()
        logger.info("stopped serving on %s", self._path, extra={"fields": {"address": str(self._path)}})

    async def _blocking(self, stack: AsyncExitStack) -> AnyStore:
        """Return the calls of the store for the threads of the server."""
        if isinstance(self._store, LocalStore):
            return self._store.direct()
        tasks = await stack.enter_async_context(task_group())
        return LoopStore(self._store, LoopCalls(tasks, self._wait_seconds))

    def _made(self, store: AnyStore, pool: Pool) -> grpc.Server:
        server = grpc.server(
            pool,
            options=[
                ("grpc.max_receive_message_length", self._message_bytes),
                ("grpc.max_send_message_length", self._message_bytes),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._events = Events(store, subscribers=max(1, self._most_calls // 4))
        services = {
            CONTENT: Content(
                store, read_bytes=self._read_bytes, meters=self._meters, leases=self._own_collector
            ).handlers(self._interceptor),
            IMAGES: Images(store).handlers(self._interceptor),
            EVENTS: self._events.handlers(self._interceptor),
            HEALTH: self._health.handlers(self._interceptor),
            REFLECTION: Reflection((*self._offered, HEALTH, REFLECTION)).handlers(self._interceptor),
        }
        if self._own_collector:
            services[LEASES] = Leases(store).handlers(self._interceptor)
        server.add_generic_rpc_handlers(
            tuple(grpc.method_handlers_generic_handler(name, handlers) for name, handlers in services.items())
        )
        return server

    async def _end(self, running: _Running) -> None:
        # CANCEL: shielded, because handlers on threads still use the store; the grace bounds it.
        with CancelScope(shield=True):
            self._health.drain()
            if self._events is not None:
                self._events.drain()
            ended = await run(running.drain, self._grace_seconds)
            while not await run(ended.wait, _STEP_SECONDS):
                pass
            await run(running.close)


class _Running:
    """The parts that run while a server is open."""

    def __init__(self, server: grpc.Server, pool: Pool, place: Place, interceptor: Interceptor) -> None:
        self._server = server
        self._pool = pool
        self._place = place
        self._interceptor = interceptor

    def start(self) -> None:
        """Bind, serve, and only then publish the socket."""
        try:
            self._server.add_insecure_port(self._place.target)
        except RuntimeError as error:
            raise StorageError(errno.EADDRNOTAVAIL, operation="bind", path=str(self._place.path)) from error
        self._interceptor.open()
        with refusable(self._place.path):
            # One thread there is always: calls wait for it where the system refuses more.
            self._pool.submit(int).result()
            self._server.start()
        self._place.publish()

    def drain(self, grace_seconds: float) -> threading.Event:
        """Take no new calls; return an event that is set when those under way, or the grace, have ended."""
        self._place.withdraw()
        try:
            with refusable(self._place.path):
                return self._server.stop(grace_seconds)
        except StorageError:
            # No thread can wait for the grace to end, so calls have none.
            return self._server.stop(None)

    def close(self) -> None:
        """Wait for the threads, which are about to end."""
        self._pool.shutdown()
        self._interceptor.close()
