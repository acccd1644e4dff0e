"""The application: tus 1.0 on a store."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta

import anyio

from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.errors import InvalidArgument, SteelyardError, Unsupported
from steelyard.leases import check_expires
from steelyard.web._asgi import Receive, Scope, Send
from steelyard.web.uploads._answer import Answers
from steelyard.web.uploads._completing import Completing, OnComplete
from steelyard.web.uploads._protocol import Protocol
from steelyard.web.uploads._receiving import Limits
from steelyard.web.uploads._records import Records
from steelyard.web.uploads._refusal import Refusal, refusal_of
from steelyard.web.uploads._request import Request

__all__ = ("Uploads",)

_PREFIX = re.compile(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*")
_PREFIX_BYTES = 200


class Uploads:
    """An ASGI application that receives files by tus 1.0 and stores them as blobs.

    Mount it in a framework, or serve it alone. Any number of these applications may serve one store, in one process or in several.
    Applications with the same prefix serve the same uploads.

    ```python
    app.mount("/files", Uploads(store, on_complete=on_complete))
    ```

    **Durability.** When a PATCH is answered, its bytes survive a power loss, if `Writer.sync` of the store promises that. When the last PATCH is
    answered, the blob survives it, and the application was notified.

    **Garbage collection.** An upload and its blob are protected by a lease until the upload expires, or until `keep` after that if it is
    complete. `on_complete` gives the blob an image name or a label to keep it for longer.

    **Memory.** A request has at most one piece of its body in memory and what the store buffers; with a checksum, up to 1 MiB more.

    Args:
        store: any store that has leases. A `LocalStore` need not be open yet, but must be open when requests are answered. If the application is
            served alone, it opens the store when the server starts and closes it at the end.
        on_complete: called with each complete `Upload` before its last request is answered. It may be called again for the same upload after
            a failure, a cancellation or a kill, by a later request or by `sweep`. If it raises, the client gets status 500 and may ask again.
        prefix: the first part of the refs of the ingests and of the IDs of the leases: plain words of ASCII with ``/`` or ``.`` between them. An
            application touches only ingests with its prefix.
        expires: the time after its creation at which an incomplete upload expires.
        keep: how long a complete upload is still known, at least: a client that missed the last answer can ask for it.
        max_size: the largest upload in bytes, or None for no limit.
        max_uploads: the most unfinished uploads of the prefix at a time, or None for no limit. Uploads of other processes are counted once a
            second.
        algorithm: the algorithm of the digests; by default SHA-256.
        origins: the origins of web pages that may use the application, for example ``["https://example.org"]``; ``"*"`` for all.
        stalled_after: the time without a byte after which another request may continue the upload.
        abandoned_after: the time without a byte after which the request ends.

    Raises:
        InvalidArgument: the prefix, a number or a time is invalid.
        Unsupported: the store has no leases.
    """

    def __init__(
        self,
        store: Store,
        *,
        on_complete: OnComplete | None = None,
        prefix: str = "uploads",
        expires: timedelta = timedelta(days=7),
        keep: timedelta = timedelta(days=1),
        max_size: int | None = None,
        max_uploads: int | None = 1000,
        algorithm: Algorithm | None = None,
        origins: Collection[str] = (),
        stalled_after: timedelta = timedelta(seconds=5),
        abandoned_after: timedelta = timedelta(seconds=60),
    ) -> None:
        if not _PREFIX.fullmatch(prefix) or len(prefix) > _PREFIX_BYTES:
            raise InvalidArgument(
                f"prefix {prefix[:100]!r}: expected letters, digits, '-' and '_', with single '/' and '.'"
            )
        check_expires(expires)
        check_expires(expires + keep)
        _check_least("max_size", max_size, 0)
        _check_least("max_uploads", max_uploads, 1)
        if not timedelta() < stalled_after or not timedelta() < abandoned_after:
            raise InvalidArgument("stalled_after and abandoned_after: expected more than 0")
        limits = Limits(max_size=max_size, stalled_after=stalled_after, abandoned_after=abandoned_after)
        self._store = store
        self._records = Records(store, prefix, expires, keep, max_uploads)
        self._completing = Completing(self._records, on_complete)
        self._protocol = Protocol(self._records, self._completing, limits, algorithm)
        self._answers = Answers([origins] if isinstance(origins, str) else origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI 3 calls an application.

        Raises:
            SteelyardError: the store failed. The client has its answer by then; the server logs the error.
            Exception: `on_complete` raised it.

        Cancellation:
            The bytes received so far count, unless they have a checksum.
        """
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise Unsupported("Uploads", operation=f"connections of type {scope['type']}")
        request = Request(scope, receive)
        try:
            status, fields = await self._protocol.answer(request)
        except (Refusal, SteelyardError) as error:
            refusal = refusal_of(error)
            if not request.body.broken:
                await self._answers.refuse(request, send, refusal)
            failure = error if refusal is not error else error.__cause__
            if refusal.status >= 500 and failure is not None:
                raise failure from None  # so that the server logs it for the operator
            return
        if not request.body.broken:
            await self._answers.send(request, send, status, fields)

    async def sweep(self) -> int:
        """Discard expired uploads, and notify the application of complete uploads for which a failure or a kill has prevented that.

        Call it when a service starts, and from time to time. The creation of an upload also discards expired ones, at most once a minute. An
        upload to which a request is writing is left to a later call.

        Returns:
            The number of discarded uploads.

        Raises:
            ExceptionGroup: `on_complete` raised errors; all uploads were tried.
            SteelyardError: the store failed.
        """
        discarded = await self._records.discard_expired()
        errors = await self._completing.notify_all()
        if errors:
            raise ExceptionGroup("the application could not be notified of all uploads", errors)
        return discarded

    async def _live(self, receive: Receive, send: Send) -> None:
        """Open the store when the server starts, and close it at the end."""
        await receive()
        try:
            await self._store.aopen()
        except (SteelyardError, OSError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        try:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        finally:
            # CANCEL: shielded, like the end of ``async with``.
            with anyio.CancelScope(shield=True):
                await self._store.aclose()
        await send({"type": "lifespan.shutdown.complete"})


def _check_least(name: str, number: int | None, least: int) -> None:
    if number is not None and number < least:
        raise InvalidArgument(f"{name} {number}: expected {least} or more")
