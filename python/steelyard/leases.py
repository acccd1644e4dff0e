"""The interface of leases, which protect blobs and ingests from garbage collection, even if nothing refers to them.

A **lease** has an ID, labels, and resources: digests of blobs and refs of ingests. As long as it lasts, a garbage collection
removes none of its resources and none of the blobs that they refer to. `Store.lease` makes a lease for a part of a program; it
ends with that part or with the process. `Leases.create` makes a lease that outlives the process; it ends when it is deleted or expires.

A resource need not be stored: a blob is protected from the moment it is stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import ClassVar
from uuid import uuid4

from steelyard.digest import Digest
from steelyard.errors import InvalidArgument
from steelyard.model import Lease, LeaseResources

__all__ = ("EXPIRES_LIMIT", "LEASE_LIMIT", "Leases", "check_expires", "check_lease", "new_lease")

LEASE_LIMIT = 1024
"""The most bytes that the ID of a lease may have, in UTF-8."""

EXPIRES_LIMIT = timedelta(days=36525)
"""The longest time for which a lease can be made: a hundred years."""


class Leases(ABC):
    """The leases of a store. When a call returns, its change survives a power loss.

    The leases of `Store.lease` are among them. A lease that has expired, or whose process has ended, counts as deleted.
    """

    collects: ClassVar[bool] = False
    """Whether the store collects garbage by itself, at any time, and finds references only in labels, as containerd does."""

    @abstractmethod
    async def create(
        self, lease: str | None = None, *, expires: timedelta, labels: Mapping[str, str] | None = None
    ) -> Lease:
        """Create a lease that outlives this process.

        Args:
            lease: its ID: any text except the empty one, at most `LEASE_LIMIT` bytes in UTF-8, without control characters. A
                containerd takes only printable ASCII without spaces. None: a new random ID.
            expires: the time after which it ends by itself, at most `EXPIRES_LIMIT`.
            labels: its labels.

        Raises:
            LeaseExists: there is a lease with that ID.
            InvalidArgument: the ID is invalid, or the time is not positive or too long.
            InvalidLabel: a label is too long.
        """

    @abstractmethod
    async def get(self, lease: str) -> Lease:
        """Return times and labels of a lease. Raises NotFound if there is none with that ID."""

    @abstractmethod
    async def list(self, *filters: str) -> list[Lease]:
        """Return the leases that match any of the filters, ordered by ID; `steelyard.filters` describes the language.

        Raises:
            InvalidFilter: a filter does not parse.
        """

    @abstractmethod
    async def add(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Make a lease protect blobs and ingests, whether they are stored or not: all of them or, if the lease ends, none.

        To protect a stored blob, add it first and check afterwards that it is still stored.

        Raises:
            NotFound: there is no such lease.
            InvalidArgument: a digest or a ref is invalid.
        """

    @abstractmethod
    async def remove(self, lease: str, *, digests: Iterable[Digest | str] = (), refs: Iterable[str] = ()) -> None:
        """Remove blobs and ingests from the resources of a lease; those that it does not protect are skipped.

        Raises:
            NotFound: there is no such lease.
            InvalidArgument: a digest or a ref is invalid.
        """

    @abstractmethod
    async def resources(self, lease: str) -> LeaseResources:
        """Return what a lease protects. Raises NotFound if there is no such lease."""

    @abstractmethod
    async def delete(self, lease: str) -> None:
        """End a lease. A caller that works under it gets `LeaseEnded` at the next call. Raises NotFound if there is no such lease."""


def check_lease(lease: str) -> str:
    """Return the ID of a lease if it is valid. IDs are shown to people, so they have no control characters.

    Raises:
        InvalidArgument: it is empty, longer than `LEASE_LIMIT`, not Unicode text, or has control characters.
    """
    try:
        size = len(lease.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"lease {lease[:100]!r}: not Unicode text: {error.reason}") from None
    if not 0 < size <= LEASE_LIMIT:
        raise InvalidArgument(f"lease {lease[:100]!r}: expected 1 to {LEASE_LIMIT} bytes in UTF-8, found {size}")
    if any(letter < " " or "\x7f" <= letter < "\xa0" for letter in lease):
        raise InvalidArgument(f"lease {lease[:100]!r}: it has control characters")
    return lease


def check_expires(expires: timedelta) -> timedelta:
    """Return the time after which a lease ends, if it is valid.

    Raises:
        InvalidArgument: it is not positive, or longer than `EXPIRES_LIMIT`.
    """
    if not timedelta() < expires <= EXPIRES_LIMIT:
        raise InvalidArgument(f"expires {expires}: expected more than 0 and at most {EXPIRES_LIMIT.days} days")
    return expires


def new_lease() -> str:
    """Return a new ID."""
    return f"steelyard-{uuid4().hex}"
