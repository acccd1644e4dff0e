"""Leases: what containerd's garbage collector leaves alone for a time."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from steelyard.containerd.remote._calls import GRACE, Limits, ask
from steelyard.containerd.remote._channel import Connection, method
from steelyard.containerd.remote._errors import About
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, NotFound

__all__ = ("add_to_lease", "create_lease", "delete_lease")

_EXPIRE = "containerd.io/gc.expire"


async def create_lease(connection: Connection, limits: Limits, expires: timedelta) -> str:
    """Make a lease that ends by itself, and return its id.

    Raises:
        InvalidArgument: `expires` is not positive.
        Unsupported: the server has no leases.
    """
    if expires <= timedelta():
        raise InvalidArgument(f"expires {expires}: expected a time to come")
    end = (datetime.now(UTC) + expires).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    called = method("Leases", "Create")
    lease = f"steelyard-{uuid4().hex}"
    request = called.request(id=lease, labels={_EXPIRE: end})
    about = About(kind="lease", name=lease, call="Leases.Create")
    answer = await ask(connection, called, request, about, limits, grace=GRACE)
    found: str = answer.lease.id
    return found


async def delete_lease(connection: Connection, limits: Limits, lease: str, *, collect: bool) -> None:
    """End a lease, unless it has ended; with `collect` containerd collects its garbage before it answers."""
    called = method("Leases", "Delete")
    about = About(kind="lease", name=lease, call="Leases.Delete")
    with suppress(NotFound):
        await ask(connection, called, called.request(id=lease, sync=collect), about, limits, grace=GRACE)


async def add_to_lease(connection: Connection, limits: Limits, lease: str, digest: Digest) -> None:
    """Have a lease protect a blob that is stored.

    Raises:
        NotFound: it is not stored, or the lease has ended.
    """
    called = method("Leases", "AddResource")
    request = called.request(id=lease, resource={"id": str(digest), "type": "content"})
    about = About(kind="blob", name=str(digest), call="Leases.AddResource")
    await ask(connection, called, request, about, limits, grace=GRACE)
