"""Requests to the server, awaited, and their failures as errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
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
"""How often a request is tried again while another one for the same object is under way."""

_AT_ONCE = 32
"""Creates that are tried again at once."""

MARKED = 64 << 10
"""An object of more bytes gets the mark of a store. Whether a smaller one is right is seen by comparing it."""

PAGE = 1000
"""Objects or uploads of a page, the most that a server gives."""

_ABSENT = {None, "NoSuchKey", "NotFound", "NoSuchUpload"}
"""The codes of an object or an upload that does not exist; others with the status 404 mean a bucket, or the user."""

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


class Missing(Exception):  # no error of the caller's
    """There is no such object or upload."""


class Taken(Exception):
    """The object exists already, or is no longer the one that was asked for."""


class Object(NamedTuple):
    """An object at the server.

    Attributes:
        key: its key, below the prefix.
        size: its size, in bytes.
        etag: its entity tag.
        modified_ns: when it was written, by the server's clock: whole seconds, in nanoseconds since the epoch.
        is_ours: whether it has the mark of a store, not of another program, if it has more than `MARKED` bytes; unknown (False) in a listing.
    """

    key: str
    size: int
    etag: str | None
    modified_ns: int
    is_ours: bool = False


class Upload(NamedTuple):
    """A multipart upload that is unfinished.

    Attributes:
        key: the key of its object, below the prefix.
        id: its ID.
        begun_ns: when it was begun, by the server's clock: nanoseconds since the epoch.
    """

    key: str
    id: str
    begun_ns: int


class Requests:
    """Requests for the objects below one prefix of a bucket.

    Each method raises `Unreachable` if the server does not answer or fails in spite of several attempts, and `ServerRefused` if it refuses.

    Cancellation:
        Ends the request at once. The server may have done what it was asked.

    Args:
        address: the address, for messages.
        client: the native client.
        prefix: the prefix of all keys, with its slash.
    """

    def __init__(self, address: str, client: ObjectClient, prefix: str) -> None:
        self.address = address
        self._client = client
        self._prefix = prefix

    async def put(self, key: str, data: Buffer, *, create: bool) -> None:
        """Write an object; with `create`, `Taken` is raised if it exists, also if the answer that said that this call created it was lost."""
        if not create:
            await self._done(lambda: self._client.put(self._prefix + key, data, create=False, mark=_is_marked(data)))
            return
        [error] = await self.create_all([(key, data)])
        if error is not None:
            raise error

    async def create_all(self, objects: Sequence[tuple[str, Buffer]]) -> list[Exception | None]:
        """Create objects, a request for each; return for each None, or what `put` raises. They are waited for together."""
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
        # The native client repeats no create whose answer was lost: it would not know whose object it finds.
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
        """Read an object, or a part of it; `Missing`, `Taken` if it has another etag."""
        part = None if size is None else (offset, size)
        start = partial(self._client.get, self._prefix + key, range=part, etag=etag)
        if etag is None:
            row, data = await self._done(start, Missing)
        else:
            row, data = await self._done(start, Missing, Taken)
        return self._object(row), data

    def body(self, key: str, *, offset: int, size: int, algorithm: str | None) -> ObjectBody:
        """Return a part of an object, hashed if an algorithm is named, of which `receive` has some received."""
        return ObjectBody(self._prefix + key, offset, size, algorithm=algorithm)

    async def receive(self, body: ObjectBody, etag: str | None) -> None:
        """Wait until there are bytes of a body to take; `Missing`, `Taken` if the object has another etag."""
        await self._done(lambda: self._client.receive(body, etag=etag), Missing, Taken)

    async def head(self, key: str) -> Object:
        """Look at an object; `Missing`."""
        return self._object(await self._done(lambda: self._client.head(self._prefix + key), Missing))

    async def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        await self._done(lambda: self._client.delete(self._prefix + key))

    async def sign_removals(self, keys: Iterable[str], *, seconds: int) -> list[str]:
        """Sign removals of objects, which the server refuses when their time has passed. No request is made."""
        full = [self._prefix + key for key in keys]
        return await self._done(lambda: self._client.sign_removals(full, seconds=seconds))

    async def remove_signed(self, signed: str) -> None:
        """Remove an object by a signed removal, if it exists; `ServerRefused` if its time has passed. It is tried once."""
        await self._done(lambda: self._client.remove(signed))

    async def page(self, prefix: str, *, after: str | None = None) -> tuple[list[Object], bool]:
        """Return up to 1,000 objects whose keys begin with `prefix`, in order and after `after`; and whether there are more."""
        start = None if after is None else self._prefix + after
        rows, more = await self._done(lambda: self._client.list(self._prefix + prefix, after=start, limit=PAGE))
        return [self._object(row) for row in rows], more

    def pages(self, prefix: str, *, after: str | None = None) -> Pages:
        """Return a cursor over all objects whose keys begin with `prefix`, in order."""
        return Pages(self, prefix, after)

    async def every(self, prefix: str) -> list[Object]:
        """Return all objects whose keys begin with `prefix`, in order: for few."""
        found: list[Object] = []
        pages = self.pages(prefix)
        while objects := await pages.next():
            found.extend(objects)
        return found

    async def copy(self, source: str, target: str) -> None:
        """Copy an object at the server; `Missing`."""
        await self._done(lambda: self._client.copy(self._prefix + source, self._prefix + target), Missing)

    async def begin(self, key: str) -> str:
        """Begin a multipart upload, and return its ID."""
        return await self._done(lambda: self._client.begin(self._prefix + key))

    async def part(self, key: str, upload: str, number: int, *, path: str, offset: int, size: int) -> str:
        """Send a part, a range of a file, and return what `complete` needs; `Missing` if the upload is gone."""
        return await self._done(
            lambda: self._client.part(self._prefix + key, upload, number, path=path, offset=offset, size=size), Missing
        )

    async def part_of(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Send a part as `part` does, from memory."""
        return await self._done(lambda: self._client.part_of(self._prefix + key, upload, number, data), Missing)

    async def complete(self, key: str, upload: str, parts: list[str]) -> None:
        """Make the object of its parts; `Missing` if the upload is gone."""
        await self._done(lambda: self._client.complete(self._prefix + key, upload, parts), Missing)

    async def abort(self, key: str, upload: str) -> None:
        """Discard a multipart upload, if it exists."""
        await self._done(lambda: self._client.abort(self._prefix + key, upload))

    async def uploads(
        self, prefix: str, *, after: tuple[str, str] | None = None
    ) -> tuple[list[Upload], tuple[str, str] | None]:
        """Return a page of unfinished uploads whose keys begin with `prefix`, and its end, after which the next one begins, if there is one.

        An end of the kind ``"key"`` is after a whole key, of which the page may lack some; any other end is after one upload.
        """
        try:
            start = partial(self._client.uploads, self._prefix + prefix, after=after, limit=PAGE)
            rows, end = await self._done(start, Missing)
        except Missing as absent:  # what some servers answer to a call that they do not have
            raise ServerRefused(self.address, reason=f"it does not list uploads: {absent}") from None
        if end is not None and end == after:
            raise ServerRefused(self.address, reason="its list of uploads does not come to an end")
        return [Upload(key.removeprefix(self._prefix), name, begun) for key, name, begun in rows], end

    async def server(self) -> tuple[str | None, int | None]:
        """Return what the server calls itself, and its time in nanoseconds since the epoch; None for what it does not say."""
        return await self._done(self._client.server)

    async def _done(self, start: Callable[[], ObjectRequest[ResultT]], *awaited: type[Missing | Taken]) -> ResultT:
        """Make a request, and raise its failure: `Missing` and `Taken` only where the caller awaits them."""
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
        if kind == "unreachable":
            return Unreachable(self.address, reason=message)
        step = _NEXT_STEPS.get(code or ("AccessDenied" if kind == "denied" else ""))
        return ServerRefused(self.address, server_code=code, reason=message if step is None else f"{message}: {step}")

    async def aclose(self) -> None:
        """End all requests, and the threads if no other store has requests."""
        await run_always(self._client.close)

    def _object(self, row: _Row) -> Object:
        key, size, etag, modified, is_ours = row
        # A listing has milliseconds and a look at the object has not: the same object has the same time in both.
        return Object(key.removeprefix(self._prefix), size, etag, modified // 10**9 * 10**9, is_ours)


class Pages:
    """A cursor over objects. It is no generator, as it has nothing to close."""

    def __init__(self, requests: Requests, prefix: str, after: str | None) -> None:
        self._requests, self._prefix, self._after = requests, prefix, after
        self._more = True

    async def next(self) -> list[Object]:
        """Return the next objects; none at the end."""
        if not self._more:
            return []
        objects, self._more = await self._requests.page(self._prefix, after=self._after)
        if objects:
            self._after = objects[-1].key
        return objects


def _is_marked(data: Buffer) -> bool:
    return memoryview(data).nbytes > MARKED
