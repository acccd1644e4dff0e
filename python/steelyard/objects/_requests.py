"""Async requests to the server, whose failures become errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from html import unescape
from typing import NamedTuple, TypeVar

import anyio

from steelyard._native import ObjectBody, ObjectClient, ObjectRequest, RequestFailed
from steelyard._runtime.backoff import pause_seconds
from steelyard._runtime.calls import run_always, run_job
from steelyard._runtime.concurrent import map_concurrently
from steelyard.errors import ServerRefused, SteelyardError, Unreachable
from steelyard.model import Buffer

__all__ = ("MARKED", "PAGE", "Missing", "Object", "Pages", "Requests", "Taken", "Upload")

_CONFLICTS = 12
"""How often a request is tried while another one for the same object is running."""

_AT_ONCE = 32
"""The most creates that are tried again at the same time."""

MARKED = 64 << 10
"""A larger object gets the mark of a store. The bytes of a smaller one are compared in place of that."""

PAGE = 1000
"""The objects or uploads of a page, the most that a server returns."""

_ABSENT = {None, "NoSuchKey", "NotFound", "NoSuchUpload"}
"""The codes of a missing object or upload. Other codes with the status 404 are about the bucket or the user."""

_NEXT_STEPS = {
    "NoSuchBucket": "create the bucket, or correct its name",
    "AccessDenied": "check the credentials, and the policy of the bucket",
    "XAdminUserNotFound": "check AWS_ACCESS_KEY_ID, or the profile",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, or the profile",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY and the region",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "AuthorizationHeaderMalformed": "give the bucket's region: region=NAME in the address, or AWS_REGION",
    "PermanentRedirect": "give the bucket's region: region=NAME in the address, or AWS_REGION",
    "ExpiredToken": "get new temporary credentials",
}

ResultT = TypeVar("ResultT")
_Row = tuple[str, int, str | None, int, bool]


class Missing(Exception):  # callers of the store never see it
    """The object or upload does not exist."""


class Taken(Exception):
    """The object exists already, or was replaced since its ETag was read."""


class Object(NamedTuple):
    """An object at the server.

    Attributes:
        key: its key, below the prefix.
        size: its size, in bytes.
        etag: its entity tag.
        modified_ns: the time at which it was written, by the server's clock: whole seconds, in nanoseconds since the epoch.
        is_ours: whether it has the mark of a store. Only objects of more than `MARKED` bytes have it. Always False in a listing.
    """

    key: str
    size: int
    etag: str | None
    modified_ns: int
    is_ours: bool = False


class Upload(NamedTuple):
    """An unfinished multipart upload.

    Attributes:
        key: the key of its object, below the prefix.
        id: its ID.
        begun_ns: the time of its start, by the server's clock: nanoseconds since the epoch.
    """

    key: str
    id: str
    begun_ns: int


class Requests:
    """Requests for the objects below one prefix of a bucket.

    Each method raises `Unreachable` if the server does not answer, or fails after several attempts, and `ServerRefused` if it refuses.

    Cancellation:
        The request ends at once. The server may have carried it out.

    Args:
        address: the address, for messages.
        client: the native client.
        prefix: the prefix of all keys, empty or with a slash at its end.
    """

    def __init__(self, address: str, client: ObjectClient, prefix: str) -> None:
        self.address = address
        self._client = client
        self._prefix = prefix

    async def put(self, key: str, data: Buffer, *, create: bool) -> None:
        """Write an object.

        With `create`, raise `Taken` if it exists. That may be the object of this very call, if the server's answer was lost.
        """
        if not create:
            await self._done(lambda: self._client.put(self._prefix + key, data, create=False, mark=_is_marked(data)))
            return
        [error] = await self.create_all([(key, data)])
        if error is not None:
            raise error

    async def create_all(self, objects: Sequence[tuple[str, Buffer]]) -> list[Exception | None]:
        """Create objects at the same time, with one request each. Return for each None, or the error that `put` would raise."""
        rows = [(self._prefix + key, data, _is_marked(data)) for key, data in objects]

        async def create(index: int) -> None:
            try:
                key, data, mark = rows[index]
                await self._done(lambda: self._client.put(key, data, create=True, mark=mark), Taken)
            except (SteelyardError, Taken) as error:
                outcomes[index] = error
            else:
                outcomes[index] = None

        answers = await self._done(lambda: self._client.create_all(rows)) if rows else []
        outcomes = [self._outcome(answer) for answer in answers]
        # The native client does not repeat a create whose answer was lost: it could not know who created the object that it finds.
        again = [
            index
            for index, answer in enumerate(answers)
            if isinstance(answer, RequestFailed) and answer.args[0] in {"conflict", "unreachable"}
        ]
        if again:
            await map_concurrently(again, create, concurrency=_AT_ONCE)
        return outcomes

    async def get(
        self, key: str, *, offset: int = 0, size: int | None = None, etag: str | None = None
    ) -> tuple[Object, bytes]:
        """Read an object or a part of it. Raise `Missing` if it does not exist, and `Taken` if it has another ETag."""
        part = None if size is None else (offset, size)
        start = partial(self._client.get, self._prefix + key, range=part, etag=etag)
        if etag is None:
            row, data = await self._done(start, Missing)
        else:
            row, data = await self._done(start, Missing, Taken)
        return self._object(row), data

    def body(self, key: str, *, offset: int, size: int, algorithm: str | None) -> ObjectBody:
        """Return the body of a part of an object, which `receive` fetches. With an algorithm, it is hashed."""
        return ObjectBody(self._prefix + key, offset, size, algorithm=algorithm)

    async def receive(self, body: ObjectBody, etag: str | None) -> None:
        """Wait until a body has bytes to take. Raise `Missing` if the object does not exist, and `Taken` if it has another ETag."""
        await self._done(lambda: self._client.receive(body, etag=etag), Missing, Taken)

    async def head(self, key: str) -> Object:
        """Return an object without its bytes. Raise `Missing` if it does not exist."""
        return self._object(await self._done(lambda: self._client.head(self._prefix + key), Missing))

    async def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        await self._done(lambda: self._client.delete(self._prefix + key))

    async def sign_removals(self, keys: Iterable[str], *, seconds: int) -> list[str]:
        """Sign removals of objects. The server refuses them after so many seconds. This makes no request."""
        full = [self._prefix + key for key in keys]
        return await self._done(lambda: self._client.sign_removals(full, seconds=seconds))

    async def remove_signed(self, signed: str) -> None:
        """Remove an object by a signed removal, if it exists, in one attempt. Raise `ServerRefused` if the signature has expired."""
        await self._done(lambda: self._client.remove(signed))

    async def page(self, prefix: str, *, after: str | None = None) -> tuple[list[Object], bool]:
        """Return up to 1,000 objects whose keys begin with `prefix` and come after `after`, in order, and whether there are more."""
        start = None if after is None else self._prefix + after
        rows, more = await self._done(lambda: self._client.list(self._prefix + prefix, after=start, limit=PAGE))
        return [self._object(row) for row in rows], more

    def pages(self, prefix: str, *, after: str | None = None) -> Pages:
        """Return a cursor over all objects whose keys begin with `prefix`, in order."""
        return Pages(self, prefix, after)

    async def every(self, prefix: str) -> list[Object]:
        """Return all objects whose keys begin with `prefix`, in order. For small numbers of objects."""
        found: list[Object] = []
        pages = self.pages(prefix)
        while objects := await pages.next():
            found.extend(objects)
        return found

    async def copy(self, source: str, target: str) -> None:
        """Copy an object at the server. Raise `Missing` if it does not exist."""
        await self._done(lambda: self._client.copy(self._prefix + source, self._prefix + target), Missing)

    async def begin(self, key: str) -> str:
        """Begin a multipart upload, and return its ID."""
        return await self._done(lambda: self._client.begin(self._prefix + key))

    async def part(self, key: str, upload: str, number: int, *, path: str, offset: int, size: int) -> str:
        """Send a range of a file as a part, and return the text that `complete` needs for it. Raise `Missing` if there is no such upload."""
        return await self._done(
            lambda: self._client.part(self._prefix + key, upload, number, path=path, offset=offset, size=size), Missing
        )

    async def part_of(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send a part from memory, as `part` does from a file."""
        return await self._done(lambda: self._client.part_of(self._prefix + key, upload, number, data), Missing)

    async def complete(self, key: str, upload: str, parts: list[str]) -> None:
        """Complete an upload: create the object from its parts. Raise `Missing` if the upload does not exist."""
        await self._done(lambda: self._client.complete(self._prefix + key, upload, parts), Missing)

    async def abort(self, key: str, upload: str) -> None:
        """Discard a multipart upload, if it exists."""
        await self._done(lambda: self._client.abort(self._prefix + key, upload))

    async def uploads(
        self, prefix: str, *, after: tuple[str, str] | None = None
    ) -> tuple[list[Upload], tuple[str, str] | None]:
        """Return a page of the unfinished uploads whose keys begin with `prefix`, and its end, or None after the last page.

        The end is the argument `after` for the next page. An end of the kind ``"key"`` skips all further uploads of the last key. Any
        other end is after one upload.
        """
        try:
            start = partial(self._client.uploads, self._prefix + prefix, after=after, limit=PAGE)
            rows, end = await self._done(start, Missing)
        except Missing as absent:  # some servers answer this to an operation that they lack
            raise ServerRefused(self.address, reason=f"it does not list uploads: {absent}") from None
        if end is not None and end == after:
            raise ServerRefused(self.address, reason="its list of uploads has no end")
        return [Upload(key.removeprefix(self._prefix), name, begun) for key, name, begun in rows], end

    async def server(self) -> tuple[str | None, int | None]:
        """Return the name of the server, and its time in nanoseconds since the epoch. Each is None if the server does not report it."""
        return await self._done(self._client.server)

    async def _done(self, start: Callable[[], ObjectRequest[ResultT]], *awaited: type[Missing | Taken]) -> ResultT:
        """Make a request, and raise its failure. `Missing` and `Taken` are raised only if they are in `awaited`."""
        for attempt in range(_CONFLICTS):
            try:
                request = start()
                return await run_job(request, request.wait())
            except RequestFailed as failed:
                if failed.args[0] != "conflict" or attempt == _CONFLICTS - 1:
                    raise self._error(awaited, *failed.args) from None
            await anyio.sleep(pause_seconds(attempt, first=0.05, most=2.0))
        raise AssertionError

    def _outcome(self, answer: str | Exception) -> Exception | None:
        if isinstance(answer, str):
            return None
        return self._error((Taken,), *answer.args) if isinstance(answer, RequestFailed) else answer

    def _error(
        self, awaited: Sequence[type[Missing | Taken]], kind: str, code: str | None, message: str
    ) -> SteelyardError | Missing | Taken:
        if kind == "not_found" and code in _ABSENT and Missing in awaited:
            return Missing(message)
        if kind == "precondition" and Taken in awaited:
            return Taken(message)
        if code is not None:
            message = unescape(message)  # it is the text of an element of XML
        if kind == "unreachable":
            return Unreachable(self.address, reason=message)
        step = _NEXT_STEPS.get(code or ("AccessDenied" if kind == "denied" else ""))
        if step is not None:
            message = f"{message.removesuffix('.')}; {step}"
        return ServerRefused(self.address, server_code=code, reason=message)

    async def aclose(self) -> None:
        """End all requests, and also the threads if no other store uses them."""
        await run_always(self._client.close)

    def _object(self, row: _Row) -> Object:
        key, size, etag, modified, is_ours = row
        # A listing has milliseconds, and a HEAD has not. In whole seconds, the same object has the same time in both.
        return Object(key.removeprefix(self._prefix), size, etag, modified // 10**9 * 10**9, is_ours)


class Pages:
    """A cursor over objects. It has nothing to close, so it is not a generator."""

    def __init__(self, requests: Requests, prefix: str, after: str | None) -> None:
        self._requests, self._prefix, self._after = requests, prefix, after
        self._more = True

    async def next(self) -> list[Object]:
        """Return the next objects, or an empty list at the end."""
        if not self._more:
            return []
        objects, self._more = await self._requests.page(self._prefix, after=self._after)
        if objects:
            self._after = objects[-1].key
        return objects


def _is_marked(data: Buffer) -> bool:
    return memoryview(data).nbytes > MARKED
