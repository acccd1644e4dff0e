"""The marker of a store, and the check of its server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import msgspec

from steelyard._runtime.calls import run
from steelyard.errors import IncompatibleFormat, NotFound, ServerRefused
from steelyard.objects._decoding import decoded
from steelyard.objects._layout import FORMAT, MARKER
from steelyard.objects._probe import ServerCheck, kept_check, probe
from steelyard.objects._requests import Missing, Requests, Taken
from steelyard.objects._uploads import StorageErrors

__all__ = ("Marker", "check_file", "check_marker")


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """The content of ``steelyard.json``.

    Attributes:
        format: the number of the layout.
        id: the store's random ID.
    """

    format: int
    id: str


async def check_marker(requests: Requests, spool: Path, *, read_only: bool, create: bool) -> Marker:
    """Return the marker of a store. Check the server unless `read_only`; if there is no marker, create one with `create`.

    The server is checked once for each spool and store: the spool keeps the result.

    Raises:
        NotFound: there is no store, and `read_only` is set or `create` is not.
        DataCorrupt: the marker is damaged.
        StorageError: the spool cannot be read or written.
        IncompatibleFormat: a newer release wrote the store.
        ServerRefused: the check has found that the server cannot keep a store.
    """
    marker = await _read(requests)
    if marker is None and (read_only or not create):
        raise NotFound(requests.address, kind="store")
    if marker is not None and read_only:
        return marker
    file = check_file(spool)
    with StorageErrors(file, "read the check of the server"):
        kept = await run(kept_check, file)
    if marker is not None and kept is not None and kept.fault is None and kept.store == marker.id:
        return marker
    check = await probe(requests, None if marker is None else marker.id)
    if check.fault is not None:
        await _keep(file, check)
        raise ServerRefused(requests.address, reason=check.fault)
    while marker is None:
        with suppress(Taken):
            await requests.put(MARKER, msgspec.json.encode(Marker(format=FORMAT, id=uuid4().hex)), create=True)
        marker = await _read(requests)
    await _keep(file, msgspec.structs.replace(check, store=marker.id))
    return marker


def check_file(spool: Path) -> Path:
    """Return the file that keeps the result of the check of the server."""
    return spool / "server"


async def _read(requests: Requests) -> Marker | None:
    try:
        _, data = await requests.get(MARKER)
    except Missing:
        return None
    decode = msgspec.json.Decoder(Marker).decode
    marker = decoded(decode, data, key=f"{requests.address}: {MARKER}", expected="the marker of a store")
    if marker.format > FORMAT:
        raise IncompatibleFormat(requests.address, actual=str(marker.format), supported=str(FORMAT))
    return marker


async def _keep(file: Path, check: ServerCheck) -> None:
    with StorageErrors(file, "keep the check of the server"):
        await run(_note, file, check)


def _note(path: Path, check: ServerCheck) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_bytes(msgspec.json.encode(check))
