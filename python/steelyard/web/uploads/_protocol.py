"""The requests of tus, and their answers."""

from __future__ import annotations

import time
from contextlib import suppress

from steelyard.digest import Algorithm
from steelyard.errors import SteelyardError
from steelyard.web.uploads._answer import VERSION
from steelyard.web.uploads._completing import Completing
from steelyard.web.uploads._fields import CHECKSUMS, Checksum, number, parse_metadata, required_number
from steelyard.web.uploads._receiving import Limits, Receiving
from steelyard.web.uploads._records import METADATA_BYTES, Record, Records
from steelyard.web.uploads._refusal import Refusal
from steelyard.web.uploads._request import Request
from steelyard.web.uploads._upload_writer import UploadWriter, upload_writer

__all__ = ("Protocol",)

_EXTENSIONS = "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration"
_CONTENT_TYPE = "application/offset+octet-stream"
_SWEEP_SECONDS = 60.0


class Protocol:
    """Answers requests.

    Spec: tus resumable upload protocol 1.0.0.
    """

    def __init__(
        self,
        records: Records,
        completing: Completing,
        limits: Limits,
        algorithm: Algorithm | None,
    ) -> None:
        self._records = records
        self._completing = completing
        self._limits = limits
        self._algorithm = algorithm
        self._next_sweep = 0.0

    async def answer(self, request: Request) -> tuple[int, dict[str, str]]:
        """Return the status and fields of the answer. Raises `Refusal`, and errors of the store."""
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
                return await self._offset(request)
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
        has_body = request.content_type == _CONTENT_TYPE
        if has_body:
            _check_body(request, 0, length)
        checksum = Checksum.of(request.headers) if has_body else None
        ref = await self._entered()
        try:
            record = await self._records.create(ref, length, metadata)
            fields = await self._begin(request, record, checksum, has_body=has_body)
        finally:
            self._records.unfinished.begun(ref)
        return 201, fields | {"Location": request.location(record.id)}

    async def _begin(
        self, request: Request, record: Record, checksum: Checksum | None, *, has_body: bool
    ) -> dict[str, str]:
        """Create the ingest of a new upload with the bytes of the request. Return the fields of the answer."""
        try:
            async with upload_writer(self._records, record, self._algorithm) as writer:
                self._records.unfinished.begun(record.ref)
                if has_body:
                    await self._receive(request, writer, checksum)
                fields = await self._end(request, writer)
        except (Refusal, SteelyardError):
            # No client knows the URL of the upload, so none can continue it.
            with suppress(SteelyardError):
                await self._records.remove(record)
            raise
        if request.body.broken:
            # The client is gone and never gets the URL. The upload would count as unfinished until it expires.
            with suppress(SteelyardError):
                await self._records.remove(record)
        return fields

    async def _entered(self) -> str:
        """Return the ref of a new upload, unless there are too many. At most once a minute, discard expired uploads before."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
            await self._records.discard_expired()
        ref = self._records.new_ref()
        if not await self._records.unfinished.enter(ref):
            raise Refusal(503, "there are too many unfinished uploads", retry_after="60")
        return ref

    def _check_length(self, length: int | None) -> None:
        most = self._limits.max_size
        if length is not None and most is not None and length > most:
            raise Refusal(413, f"Upload-Length: an upload has at most {most} bytes")

    async def _offset(self, request: Request) -> tuple[int, dict[str, str]]:
        record = await self._records.load(request.upload)
        if record.info is None:
            # After a kill, the offset of an ingest is known only after it was opened. If all bytes are there, it is committed now.
            async with upload_writer(self._records, record, self._algorithm) as writer:
                fields = await self._completing.end(writer)
        else:
            fields = await self._completing.notify(record)
        if record.metadata:
            fields["Upload-Metadata"] = record.metadata
        return 200, _length_field(record) | fields

    async def _append(self, request: Request) -> tuple[int, dict[str, str]]:
        record = await self._records.load(request.upload)
        if request.content_type != _CONTENT_TYPE:
            raise Refusal(415, f"Content-Type: expected {_CONTENT_TYPE}")
        offset = required_number(request.headers, "Upload-Offset")
        length = number(request.headers, "Upload-Length")
        checksum = Checksum.of(request.headers)
        if record.info is not None:
            _check_offset(offset, record.info.size)
            _check_body(request, offset, offset)
            return 204, await self._completing.notify(record)
        async with upload_writer(self._records, record, self._algorithm) as writer:
            _check_offset(offset, writer.offset)
            if length is not None:
                await self._set_length(writer, length)
            _check_body(request, offset, writer.record.length)
            await self._receive(request, writer, checksum)
            return 204, await self._end(request, writer)

    async def _receive(self, request: Request, writer: UploadWriter, checksum: Checksum | None) -> None:
        await Receiving(self._records, writer, request.body, self._limits, checksum).run()

    async def _end(self, request: Request, writer: UploadWriter) -> dict[str, str]:
        return {} if request.body.broken else await self._completing.end(writer)

    async def _set_length(self, writer: UploadWriter, length: int) -> None:
        """Set the length of an upload that was created without one."""
        record = writer.record
        if record.length is None:
            self._check_length(length)
            if length < writer.offset:
                raise Refusal(400, f"Upload-Length: the upload has {writer.offset} bytes")
            await self._records.mark(record, [f"length={length}"])
            writer.record = await self._records.refresh(record)
        elif length != record.length:
            raise Refusal(400, f"Upload-Length: expected {record.length}, which was given before")


def _length_field(record: Record) -> dict[str, str]:
    return {"Upload-Defer-Length": "1"} if record.length is None else {"Upload-Length": str(record.length)}


def _check_offset(offset: int, expected: int) -> None:
    if offset != expected:
        raise Refusal(409, f"Upload-Offset: expected {expected}")


def _check_body(request: Request, offset: int, length: int | None) -> None:
    """Refuse a body that is too long for the upload, before it is received."""
    if request.size is not None and length is not None and offset + request.size > length:
        raise Refusal(413, f"the body goes beyond the Upload-Length of {length} bytes")
