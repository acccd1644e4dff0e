"""The check of a server when a store is opened for the first time: can it keep a store?

Several tasks create the same object at the same time, in several rounds. Exactly one may succeed in each round. Creating one after the other
would prove less: some servers refuse the second create, but let two concurrent ones succeed. The created object must then be readable,
whole and in part, and must be listed in order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec

from steelyard._runtime.concurrent import map_concurrently
from steelyard.objects._requests import Missing, Requests, Taken

__all__ = ("ServerCheck", "kept_check", "probe")

_ROUNDS = 6
_RACERS = 8
_SUFFIXES = ("-1", "-2", "-3")
"""The suffixes of further objects for the listing, in the order of their keys."""


class ServerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the check of a server.

    Attributes:
        store: the random ID of the store; None if there was no store and the server cannot keep one.
        at: the time of the check (UTC), by the clock of this machine.
        rounds: the most rounds in which writers raced to create an object. The first fault ends the check.
        racers: the number of writers in each round.
        fault: why the server cannot keep a store, or None if it can.
    """

    store: str | None
    at: datetime
    rounds: int
    racers: int
    fault: str | None


def kept_check(file: Path) -> ServerCheck | None:
    """Return the result in a file, or None if there is none."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=ServerCheck)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


async def probe(requests: Requests, store: str | None) -> ServerCheck:
    """Check the server of the store with this ID, and remove the objects of the check."""
    fault = None
    for _ in range(_ROUNDS):
        key = f"probe/{uuid4().hex}"
        try:
            fault = await _race(requests, key) or await _look(requests, key)
        except Missing:
            fault = "an object that was just created does not exist: this server cannot keep a store"
        finally:
            await map_concurrently(["", *_SUFFIXES], lambda suffix: requests.delete(key + suffix), concurrency=4)  # noqa: B023
        if fault is not None:
            break
    return ServerCheck(store=store, at=datetime.now(UTC), rounds=_ROUNDS, racers=_RACERS, fault=fault)


async def _race(requests: Requests, key: str) -> str | None:
    async def create(number: int) -> bool:
        try:
            await requests.put(key, _content(number), create=True)
        except Taken:
            return False
        return True

    winners = [
        number for number, won in enumerate(await map_concurrently(range(_RACERS), create, concurrency=_RACERS)) if won
    ]
    _, data = await requests.get(key)
    if len(winners) == 1 and data == _content(winners[0]):
        return None
    return (
        f"{len(winners)} of {_RACERS} writers created the same object with If-None-Match: *, expected one: this server "
        "cannot keep labels and image names safely; a store there can only be opened with read_only=True"
    )


async def _look(requests: Requests, key: str) -> str | None:
    _, data = await requests.get(key)
    _, part = await requests.get(key, offset=3, size=4)
    if part != data[3:7]:
        return "a request for a range of an object returned other bytes: this server cannot keep a store"
    for suffix in reversed(_SUFFIXES):
        await requests.put(key + suffix, data, create=True)
    listed, _ = await requests.page(key)
    if [each.key for each in listed] != [key, *(key + suffix for suffix in _SUFFIXES)]:
        return "objects that were just created are missing from a listing, or not in order: this server cannot keep a store"
    return None


def _content(number: int) -> bytes:
    return f"written by {number}".encode()
