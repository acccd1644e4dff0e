"""The check of a server when a store is opened for the first time: does it keep the one promise that a store needs?

Several tasks create the same object at the same moment, some times over. Exactly one may succeed each time. A sequence of creates would not
tell: there are servers that refuse the second create, and let two succeed that race.
"""

from __future__ import annotations

from uuid import uuid4

from steelyard._runtime.concurrent import map_concurrently
from steelyard.errors import ServerRefused
from steelyard.objects._requests import Requests, Taken

__all__ = ("probe",)

_ROUNDS = 6
_RACERS = 8


async def probe(requests: Requests) -> None:
    """Check the server.

    Raises:
        ServerRefused: it lets a second writer overwrite an object, or does not find what it has stored.
    """
    for _ in range(_ROUNDS):
        key = f"probe/{uuid4().hex}"
        try:
            await _race(requests, key)
        finally:
            await requests.delete(key)


async def _race(requests: Requests, key: str) -> None:
    async def create(number: int) -> bool:
        try:
            await requests.put(key, f"{number}".encode(), create=True)
        except Taken:
            return False
        return True

    winners = [
        number for number, won in enumerate(await map_concurrently(range(_RACERS), create, concurrency=_RACERS)) if won
    ]
    _, data = await requests.get(key)
    listed, _ = await requests.page(key)
    if len(winners) != 1 or data != f"{winners[0]}".encode():
        raise ServerRefused(
            requests.address,
            reason=f"{len(winners)} of {_RACERS} writers created the same object with If-None-Match: *, where one should: this server "
            "cannot keep labels and image names safely; a store there can only be opened with read_only=True",
        )
    if [each.key for each in listed] != [key]:
        raise ServerRefused(
            requests.address,
            reason="an object that was just created is not in the listing: this server cannot keep a store",
        )
