"""Records: small values that change, each stored as objects with numbered versions.

Servers guarantee the one thing that a change needs: an object is created only once (``If-None-Match: *``). So a change of version 7 creates
version 8. If that exists already, another client was first, and the change starts again from the new version.

* **Read**: the version with the highest number counts. One request lists the versions, and one reads the last.
* **Lost answer**: each version has a random ID. If the version exists already and has our ID, our own request created it.
* **Stale writer**: a request may be delayed while other clients create newer versions and remove old ones. It might then create an old
  number again. Readers ignore that version, because a newer one exists. The writer lists the versions after its change. If there is a newer
  one that was not made from its own, the change had no effect, so the writer removes its version and starts again. So old versions can be
  removed at any time.
* **Removed record**: its last version stays, and has no value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Generic, TypeVar
from uuid import uuid4

import anyio
import msgspec

from steelyard._runtime.backoff import pause_seconds
from steelyard._runtime.concurrent import map_concurrently
from steelyard.errors import Unreachable
from steelyard.objects._decoding import decoded
from steelyard.objects._requests import Missing, Object, Requests, Taken

__all__ = ("KEEP", "Keep", "Record", "Records")

AT_ONCE = 32
"""The most records that are read at the same time."""

_ATTEMPTS = 64
"""How often a change is tried while other clients change the same record. The pauses grow."""

_LOOKS = 16
"""How often a listed version may be gone when it is read, or how often a listing may show no newer version after a failed change."""

_HISTORY = 16
"""The most IDs of earlier versions in a version."""

_VERSION = re.compile(r"(.+)/(\d{16,18})", re.ASCII)
"""The name of a record and the number of a version. Objects with other keys belong to other programs."""

ValueT = TypeVar("ValueT")


class Keep:
    """The result of an edit that changes nothing."""


KEEP = Keep()


class _Version(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an object of a record.

    Attributes:
        id: a random ID.
        before: the IDs of the versions before it, the latest first.
        value: the value, or null if the record was removed.
    """

    id: str
    before: tuple[str, ...] = ()
    value: msgspec.Raw = msgspec.Raw(b"null")


class Record(Generic[ValueT]):
    """A version of a record.

    Attributes:
        name: its name among the records of its kind.
        number: the version's number.
        value: its value, or None if the record was removed.
        modified_ns: the time at which the version was written, by the server's clock.
    """

    def __init__(self, name: str, number: int, version: _Version, value: ValueT | None, modified_ns: int) -> None:
        self.name: str = name
        self.number: int = number
        self.value: ValueT | None = value
        self.modified_ns: int = modified_ns
        self._version = version

    def next(self, value: Any) -> _Version:
        """Return the content of the version after this one."""
        before = (self._version.id, *self._version.before)[:_HISTORY]
        return _Version(id=uuid4().hex, before=before, value=msgspec.Raw(msgspec.json.encode(value)))


class Records(Generic[ValueT]):
    """The records of one kind.

    Args:
        requests: the server.
        prefix: the prefix of their keys, with a slash at its end.
        value: the type of their values, for msgspec.
    """

    def __init__(self, requests: Requests, prefix: str, value: type[ValueT]) -> None:
        self._requests, self._prefix = requests, prefix
        self._decode_value = msgspec.json.Decoder(value | None).decode

    async def read(self, name: str) -> Record[ValueT] | None:
        """Return the newest version of a record, or None if it has no versions."""
        for attempt in range(_LOOKS):
            there = await self._versions(name)
            if not there:
                return None
            try:
                return await self._at(there[-1])
            except Missing:
                await _pause(attempt)  # another client has created a newer version and removed this one
        reason = f"{self._prefix}{name}: {_LOOKS} times in a row, a listed version does not exist"
        raise Unreachable(self._requests.address, reason=reason)

    async def is_newest(self, record: Record[ValueT]) -> bool:
        """Return whether a version is still the newest one, with one request."""
        there = await self._versions(record.name)
        return bool(there) and _number_of(there[-1].key) == record.number

    async def erase(self, name: str) -> None:
        """Remove all versions of a record. No other client may be changing it, or it must have been removed at least a day ago."""
        for each in await self._versions(name):
            await self._requests.delete(each.key)

    async def change(
        self,
        name: str,
        edit: Callable[[Record[ValueT] | None], ValueT | Keep | None],
    ) -> Record[ValueT] | None:
        """Change a record and return its new version.

        Args:
            name: the record.
            edit: returns the new value, None to remove the record, or `KEEP`. It is called again after each change of another client.
                Its errors are raised.

        Cancellation:
            The change may have happened.
        """
        newest, same = -1, 0
        for attempt in range(_ATTEMPTS):
            old = await self.read(name)
            number = 0 if old is None else old.number
            # A change of another client has a new number. If the number stays the same, the listing is old, and 64 attempts are too many.
            newest, same = number, same + 1 if number == newest else 0
            if same == _LOOKS:
                break
            value = edit(old)
            if isinstance(value, Keep):
                return old
            made = await self._create(name, old, value)
            if made is not None:
                return made
            await _pause(attempt)
        reason = f"{self._prefix}{name}: changed by other clients {attempt + 1} times in a row, or the server's listings are out of date"
        raise Unreachable(self._requests.address, reason=reason)

    async def among(self, objects: list[Object]) -> dict[str, Record[ValueT]]:
        """Return the newest version of each record that has objects in a listing, in order."""
        newest: dict[str, Object] = {}
        for each in objects:
            if name := self._name_of(each.key):
                newest[name] = each  # in order: the last one of a record counts

        async def read(found: Object) -> Record[ValueT] | None:
            try:
                return await self._at(found)
            except Missing:
                return await self.read(self._name_of(found.key))

        records = await map_concurrently(newest.values(), read, concurrency=AT_ONCE)
        return {record.name: record for record in records if record is not None}

    async def all(self) -> dict[str, Record[ValueT]]:
        """Return the newest version of each record, in order."""
        return await self.among(await self._requests.every(self._prefix))

    async def between(self, first: str, last: str, *, only: Collection[str] | None = None) -> dict[str, Record[ValueT]]:
        """Return the newest version of each record with a name from `first` to `last`, in order. With `only`, skip all other names."""
        found: list[Object] = []
        names = None if only is None else frozenset(only)
        end = f"{self._prefix}{last}0"  # after the slash of its versions
        # Begin after a shorter key: SeaweedFS 4.48 takes the key to begin after as a directory, and skips all keys below it.
        pages = self._requests.pages(self._prefix, after=f"{self._prefix}{first[:-1]}")
        while objects := await pages.next():
            found.extend(each for each in objects if each.key < end)
            if objects[-1].key >= end:
                break
        return await self.among([each for each in found if names is None or self._name_of(each.key) in names])

    async def _versions(self, name: str) -> list[Object]:
        found = await self._requests.every(f"{self._prefix}{name}/")
        return [each for each in found if self._name_of(each.key) == name]

    async def _at(self, found: Object) -> Record[ValueT]:
        _, data = await self._requests.get(found.key)
        version, value = decoded(self._decode, data, key=found.key, expected="a version of a record")
        return Record(self._name_of(found.key), _number_of(found.key), version, value, found.modified_ns)

    def _decode(self, data: bytes) -> tuple[_Version, ValueT | None]:
        version = _decode_version(data)
        return version, self._decode_value(version.value)

    async def _create(self, name: str, old: Record[ValueT] | None, value: Any) -> Record[ValueT] | None:
        """Create the next version; return None if another client was first."""
        version = (
            _Version(id=uuid4().hex, value=msgspec.Raw(msgspec.json.encode(value))) if old is None else old.next(value)
        )
        number = 1 if old is None else old.number + 1
        key = f"{self._prefix}{name}/{number:016d}"
        try:
            await self._requests.put(key, msgspec.json.encode(version), create=True)
        except Taken:
            try:
                found = await self._at(Object(key, 0, None, 0))
            except Missing:
                return None
            if found._version.id != version.id:  # noqa: SLF001  # the same module
                return None
        # The versions that are there now decide whether the change counts; see "Stale writer" above.
        there = await self._versions(name)
        last = there[-1] if there else None
        if last is None or (last.key != key and not await self._was_made_from(last, version.id)):
            await self._requests.delete(key)
            return None
        for each in there:
            if _number_of(each.key) < number:
                await self._requests.delete(each.key)
        return Record(name, number, version, value, last.modified_ns)

    async def _was_made_from(self, last: Object, version: str) -> bool:
        try:
            return version in (await self._at(last))._version.before  # noqa: SLF001  # the same module
        except Missing:
            return False

    def _name_of(self, key: str) -> str:
        """Return the name of the record that the object is a version of, or an empty string for an object of another program."""
        found = _VERSION.fullmatch(key.removeprefix(self._prefix))
        return "" if found is None else found[1]


_decode_version = msgspec.json.Decoder(_Version).decode


async def _pause(attempt: int) -> None:
    await anyio.sleep(pause_seconds(attempt, first=0.01, most=1.0))


def _number_of(key: str) -> int:
    return int(key.rpartition("/")[2])
