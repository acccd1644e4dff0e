"""The server: native code on its own threads, with a socket, a log and metrics."""

from __future__ import annotations

import logging
import os
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio import CancelScope

from steelyard import _native
from steelyard._runtime.calls import run
from steelyard._runtime.fork import ProcessBound
from steelyard._runtime.scopes import task_group
from steelyard.containerd._address import parse_address
from steelyard.containerd.service._codes import refused
from steelyard.containerd.service._loop_store import LoopCalls, LoopStore
from steelyard.containerd.service._metrics import Page, parse_metrics_address
from steelyard.containerd.service._notes import pass_on
from steelyard.containerd.service._socket import Place, private_place
from steelyard.content import Store
from steelyard.errors import FailedPrecondition, InvalidArgument, StorageError
from steelyard.local import LocalStore

__all__ = ("Server",)

logger = logging.getLogger("steelyard.containerd")

_CONTAINERD = "containerd"
"""The program that collects the garbage of a store, if the store does not."""


_MOST_BYTES = (1 << 32) - 1
"""The most bytes of a message: its length has 32 bits on the wire."""

_MOST_CALLS = 1 << 20


class Server(ProcessBound):
    """A store behind containerd's content protocol, on a Unix socket.

    ```python
    async with LocalStore("/srv/blobs") as store, Server(store, "/run/steelyard/content.sock"):
        await sleep_forever()
    ```

    Entering ``async with`` opens the socket, only for its owner and root. Leaving it accepts no new calls, gives running calls
    `grace_seconds` and then cancels them. Ingests keep their bytes.

    The server is native. Calls of a `LocalStore` run on the server's own threads, beside the event loop. Any other store is called through the
    event loop in which the server was entered, which takes about ten times as long for a small call. Do not block that loop.

    Args:
        store: an open store.
        address: the path of the socket, or ``unix:///PATH``. A missing directory is created with mode 0700.
        read_bytes: the most data of one message of a Read.
        message_bytes: the most bytes of a message, in either direction. A larger one is refused with RESOURCE_EXHAUSTED. A request has
            at most 2 MiB in any case, without the data of a Write.
        calls: the most concurrent Write calls, and the most other concurrent calls. Further calls are refused with UNAVAILABLE,
            after which clients try again. So any number of writers leaves room for other calls.
        idle_seconds: how long a call may wait for the client to send or take a message.
        wait_seconds: how long a store other than a `LocalStore` may take for one step.
        grace_seconds: how long running calls may take at the end.
        own_collector: whether the store collects its own garbage, by `Store.collect`. Then the service offers the leases of the store, and
            enters blobs that a client writes under a lease into that lease. Never let a containerd keep its content in such a store: it would
            delete all blobs that its own image names do not need. If False, the store is left to the collector of a containerd. That is
            noted durably before the socket exists. From then on `Store.collect` refuses, until it is called with `take_back`.
        metrics_address: ``HOST:PORT`` of the metrics for Prometheus, or None. Port 0 selects a free port.

    Raises (when it is entered):
        FailedPrecondition: with `own_collector`, a containerd collects the store; without it, a service with `own_collector` has the
            store open.
        CollectionBusy: without `own_collector`, a collection of the store is running.
        StorageError: a server already answers on that path (EADDRINUSE), the path is not a socket (ENOTSOCK), the file
            system refuses the socket, or the system refuses the needed threads (EAGAIN).

    Raises (when it is made):
        InvalidArgument: the address is not a path, or the path is too long for a socket; a number is out of range.
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
        if not 64 < message_bytes <= _MOST_BYTES:
            raise InvalidArgument(f"message_bytes {message_bytes}: expected 65 to {_MOST_BYTES} bytes")
        if not 0 < read_bytes <= message_bytes - 64:
            raise InvalidArgument(
                f"read_bytes {read_bytes}: expected 1 to {message_bytes - 64}, so that it fits a message"
            )
        if not 1 <= calls <= _MOST_CALLS:
            raise InvalidArgument(f"calls {calls}: expected 1 to {_MOST_CALLS}")
        for name, seconds in ("idle", idle_seconds), ("wait", wait_seconds):
            if not seconds > 0:
                raise InvalidArgument(f"{name}_seconds {seconds}: expected more than 0")
        if not grace_seconds >= 0:
            raise InvalidArgument(f"grace_seconds {grace_seconds}: expected 0 or more")
        self._store = store
        self._path = parse_address(address)
        self._wait_seconds = wait_seconds
        self._grace_seconds = grace_seconds
        self._metrics_at = None if metrics_address is None else parse_metrics_address(metrics_address)
        self._page: Page | None = None
        self._own_collector = own_collector
        self._serve = partial(
            _native.ContentServer,
            read_bytes=read_bytes,
            message_bytes=message_bytes,
            calls=calls,
            idle=idle_seconds,
            leases=own_collector,
        )
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
        """The host and port of the page for Prometheus, while it is served."""
        return None if self._page is None else self._page.address

    async def __aenter__(self) -> Self:
        if self._stack is not None:
            raise FailedPrecondition(f"server {self._path}: it was open before; make another one")
        self._stack = AsyncExitStack()
        async with AsyncExitStack() as stack:
            place: Place = await run(stack.enter_context, private_place(self._path))
            await self._store._serve(None if self._own_collector else _CONTAINERD)  # noqa: SLF001  # a hook of the interface
            tasks = await stack.enter_async_context(task_group())
            local = self._store.direct() if isinstance(self._store, LocalStore) else None
            calls = LoopCalls(tasks, self._wait_seconds)
            served = LoopStore(self._store, calls) if local is None else local.native
            server = await run(self._started, served, place)
            stack.push_async_callback(self._end, server, place, calls)
            tasks.start_soon(pass_on, server, _ignore if local is None else local.released)
            if self._metrics_at is not None:
                self._page = await run(Page, self._metrics_at, server)
                stack.push_async_callback(run, self._page.close)
            await run(place.publish)
            self._stack = stack.pop_all()
        logger.info("serving on %s", self._path, extra={"fields": {"address": str(self._path)}})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stack is not None:
            await self._stack.aclose()
        logger.info("stopped serving on %s", self._path, extra={"fields": {"address": str(self._path)}})

    def _started(self, store: _native.Store | LoopStore, place: Place) -> _native.ContentServer:
        try:
            with place.listen() as listener:
                return self._serve(store, refused, listener.fileno())
        except StorageError:
            raise
        except OSError as error:
            raise StorageError.of(error, operation="bind", path=str(place.path)) from error

    async def _end(self, server: _native.ContentServer, place: Place, calls: LoopCalls) -> None:
        # CANCEL: shielded, because threads still use the store. `grace_seconds` bounds the wait.
        with CancelScope(shield=True):
            await run(place.withdraw)
            await run(server.finish, self._grace_seconds)
            await run(calls.settle)


def _ignore(ref: str) -> None:
    """Notify no task."""
