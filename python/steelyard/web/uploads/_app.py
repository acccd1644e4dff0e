"""The application: tus 1.0 on a store."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import timedelta

import anyio

from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.errors import AlreadyExists, InvalidArgument, SteelyardError
from steelyard.web._asgi import Receive, Scope, Send
from steelyard.web.uploads._answer import VERSION, Answers
from steelyard.web.uploads._fields import CHECKSUMS, Checksum, http_time, number, parse_metadata, required_number
from steelyard.web.uploads._held import Held, held
from steelyard.web.uploads._receiving import Limits, Receiving
from steelyard.web.uploads._records import METADATA_BYTES, Record, Records, Upload
from steelyard.web.uploads._refusal import Refusal, refusal_of
from steelyard.web.uploads._request import Request

__all__ = ("OnComplete", "Uploads")

OnComplete = Callable[[Upload], Awaitable[object]]
"""Called with a complete upload, at least once."""

_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration"
_CONTENT_TYPE = "application/offset+octet-stream"
_PREFIX = re.compile(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*")
_SWEEP_SECONDS = 60.0


class Uploads:
    """An ASGI application that receives files by tus 1.0 and stores them as blobs.

    Mount it in a framework, or serve it alone: then it opens the store when the server starts, and closes it at the end. Several processes may
    serve the same store.
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
        idle_limit: timedelta = timedelta(seconds=60),
    ) -> None:
        if not _PREFIX.fullmatch(prefix) or len(prefix) > 200:
            raise InvalidArgument(
                f"prefix {prefix[:100]!r}: expected letters, digits, '-' and '_', with single '/' and '.'"
            )
        self._store = store
        self._records = Records(store, prefix, expires, keep)
        self._on_complete = on_complete
        self._max_uploads = max_uploads
        self._algorithm = algorithm
        self._limits = Limits(max_size=max_size, stalled_after=stalled_after, idle_limit=idle_limit)
        self._answers = Answers(origins)
        self._telling: set[str] = set()
        self._next_sweep = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI 3 says."""
        if scope["type"] == "lifespan":
            await self._serve_lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise InvalidArgument(f"scope {scope['type']!r}: expected http")
        request = Request(scope, receive)
        try:
            status, headers = await self._answer(request)
        except (Refusal, SteelyardError) as error:
            refusal = refusal_of(error)
            await self._answers.refuse(request, send, refusal)
            if refusal is not error and refusal.status >= 500:
                raise  # the server logs it: the operator has to know
            return
        if not request.body.broken:
            await self._answers.send(request, send, status, headers)

    async def sweep(self) -> int:
        """Discard expired uploads, and tell the application of complete ones that it does not know of. Return the number of discarded ones."""
        discarded = await self._records.discard_expired()
        if self._on_complete is not None:
            for record in await self._records.all():
                with suppress(Refusal, SteelyardError):
                    found = await self._records.refresh(record)
                    if found.info is not None:
                        await self._tell(found)
        return discarded

    async def _answer(self, request: Request) -> tuple[int, dict[str, str]]:
        if request.method == "OPTIONS":
            return 204, self._abilities()
        if request.headers.get("tus-resumable") != VERSION:
            raise Refusal(412, f"Tus-Resumable: expected {VERSION}", tus_version=VERSION)
        if not request.upload:
            if request.method != "POST":
                raise Refusal(405, "uploads are created with POST", allow="POST, OPTIONS")
            return await self._create(request)
        match request.method:
            case "HEAD":
                return await self._tell_offset(request)
            case "PATCH":
                return await self._append(request)
            case "DELETE":
                await self._records.remove(await self._records.load(request.upload))
                return 204, {}
        raise Refusal(405, "an upload has HEAD, PATCH and DELETE", allow="HEAD, PATCH, DELETE, OPTIONS")

    def _abilities(self) -> dict[str, str]:
        found = {"Tus-Version": VERSION, "Tus-Extension": _EXTENSIONS, "Tus-Checksum-Algorithm": ",".join(CHECKSUMS)}
        if self._limits.max_size is not None:
            found["Tus-Max-Size"] = str(self._limits.max_size)
        return found

    async def _create(self, request: Request) -> tuple[int, dict[str, str]]:
        length = number(request.headers, "Upload-Length")
        deferred = request.headers.get("upload-defer-length")
        if (length is None) == (deferred is None) or deferred not in {None, "1"}:
            raise Refusal(400, "expected Upload-Length, or Upload-Defer-Length: 1, and not both")
        self._check_length(length)
        metadata = request.headers.get("upload-metadata", "")
        if len(metadata) > METADATA_BYTES:
            raise Refusal(431, f"Upload-Metadata: expected at most {METADATA_BYTES} bytes")
        parse_metadata(metadata)
        has_body = request.headers.get("content-type") == _CONTENT_TYPE
        checksum = Checksum.of(request.headers) if has_body else None
        await self._make_room()
        record = await self._records.create(length, metadata)
        try:
            async with held(self._records, record, self._algorithm) as writer:
                if has_body:
                    self._check_body(request, 0, length)
                    await Receiving(self._records, writer, request.body, self._limits, checksum).run()
                headers = {} if request.body.broken else await self._end(writer)
        except (Refusal, SteelyardError):
            # No client knows its URL.
            with suppress(SteelyardError):
                await self._records.remove(record)
            raise
        return 201, headers | {"Location": request.location(record.id)}

    async def _make_room(self) -> None:
        """Discard expired uploads now and then, and refuse a new one if there are too many."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
            await self._records.discard_expired()
        if self._max_uploads is not None and len(await self._records.refs()) >= self._max_uploads:
            raise Refusal(503, "there are too many unfinished uploads", retry_after="60")

    def _check_length(self, length: int | None) -> None:
        most = self._limits.max_size
        if length is not None and most is not None and length > most:
            raise Refusal(413, f"Upload-Length: an upload has at most {most} bytes")

    def _check_body(self, request: Request, offset: int, length: int | None) -> None:
        """Refuse a body that goes beyond the length before it is received."""
        if request.size is not None and length is not None and offset + request.size > length:
            raise Refusal(413, f"the body goes beyond the Upload-Length of {length} bytes")

    async def _tell_offset(self, request: Request) -> tuple[int, dict[str, str]]:
        record = await self._records.load(request.upload)
        if record.info is None:
            # The offset of an ingest after a kill is known when it is opened. With all bytes there, it is committed now.
            async with held(self._records, record, self._algorithm) as writer:
                found = await self._end(writer)
        else:
            found = await self._tell(record)
        if record.metadata:
            found["Upload-Metadata"] = record.metadata
        if "Upload-Length" not in found:
            found |= {"Upload-Defer-Length": "1"} if record.length is None else {"Upload-Length": str(record.length)}
        return 200, found

    async def _append(self, request: Request) -> tuple[int, dict[str, str]]:
        record = await self._records.load(request.upload)
        if request.headers.get("content-type") != _CONTENT_TYPE:
            raise Refusal(415, f"Content-Type: expected {_CONTENT_TYPE}")
        offset = required_number(request.headers, "Upload-Offset")
        length = number(request.headers, "Upload-Length")
        checksum = Checksum.of(request.headers)
        if record.info is not None:
            if offset != record.info.size:
                raise Refusal(409, f"Upload-Offset: expected {record.info.size}")
            self._check_body(request, offset, offset)
            return 204, await self._tell(record)
        async with held(self._records, record, self._algorithm) as writer:
            if offset != writer.offset:
                raise Refusal(409, f"Upload-Offset: expected {writer.offset}")
            if length is not None:
                await self._set_length(writer, length)
            self._check_body(request, offset, writer.record.length)
            await Receiving(self._records, writer, request.body, self._limits, checksum).run()
            return 204, {} if request.body.broken else await self._end(writer)

    async def _set_length(self, writer: Held, length: int) -> None:
        """Set the length of an upload that was created without one."""
        record = writer.record
        if record.length is None:
            self._check_length(length)
            if length < writer.offset:
                raise Refusal(400, f"Upload-Length: the upload has {writer.offset} bytes")
            await self._records.mark(record, f"length={length}")
            writer.record = await self._records.refresh(record)
        elif length != record.length:
            raise Refusal(400, f"Upload-Length: expected {record.length}, which was given before")

    async def _end(self, writer: Held) -> dict[str, str]:
        """Commit an upload with all its bytes. Return the fields of the answer."""
        record = writer.record
        if not writer.is_complete:
            return {"Upload-Offset": str(writer.offset), "Upload-Expires": http_time(record.expires_at)}
        ingest = await writer.writer()
        # DURABILITY: the digest is in the lease before the ingest is gone. So the upload is known to be complete after a kill in between.
        await ingest.sync()
        digest = await ingest.digest()
        await self._records.mark(record, *(() if self._on_complete is None else ("owed",)), digests=[digest])
        with suppress(AlreadyExists):
            await ingest.commit(size=writer.offset)
        return await self._tell(await self._records.refresh(record))

    async def _tell(self, record: Record) -> dict[str, str]:
        """Tell the application of a complete upload, unless it knows. Return the fields of the answer."""
        info = record.info
        if info is None:
            raise Refusal(410, "the upload was discarded")
        if record.is_owed and self._on_complete is not None:
            if record.ref in self._telling:
                raise Refusal(423, "the application is about to take this upload", retry_after="1")
            self._telling.add(record.ref)
            try:
                await self._on_complete(record.upload())
            finally:
                self._telling.discard(record.ref)
            await self._records.unmark(record, "owed")
        size = str(info.size)
        return {"Upload-Offset": size, "Upload-Length": size, "Steelyard-Digest": str(info.digest)}

    async def _serve_lifespan(self, receive: Receive, send: Send) -> None:
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
            with anyio.CancelScope(shield=True):
                await self._store.aclose()
        await send({"type": "lifespan.shutdown.complete"})
