"""`leases ls`, `create` and `rm`: leases, which protect blobs that no image name refers to yet."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from steelyard._units import Duration
from steelyard.cli.context import Context
from steelyard.cli.names import check_fields, labels_of, timestamp
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import shown
from steelyard.cli.records import EndedLeaseRecord, LeaseRecord
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import NotFound, SteelyardError
from steelyard.filters import LEASE_FIELDS
from steelyard.model import Lease

__all__ = ("create", "ls", "rm")


async def ls(
    *filters: Annotated[str, Parameter(name="FILTER")],
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """List leases.

    One line each, ordered by ID: ID, number of protected blobs and ingests, time of its end or the process with which it ends, labels.

    Args:
        filters: for example 'id~=^nightly' or 'labels.job==42'.
        context: the run.
    """
    context.begin("leases", "leases")
    check_fields(filters, LEASE_FIELDS, "leases")
    async with context.open_store() as store:
        for lease in await store.leases.list(*filters):
            with suppress(NotFound):  # it has ended since
                await _emit(context, store, lease)


async def create(
    lease: Annotated[str | None, Parameter(name="ID")] = None,
    /,
    *,
    expires: Duration,
    digest: Annotated[list[str] | None, Parameter(name="--digest")] = None,
    label: Annotated[list[str] | None, Parameter(name="--label")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Create a lease, and print it.

    Args:
        lease: its ID; by default a new one.
        expires: the time after which it ends by itself, for example 6h.
        digest: a blob to protect; may be repeated.
        label: a label of the lease, KEY=VALUE; may be repeated.
        context: the run.
    """
    context.begin("leases", "leases")
    labels, named = labels_of(label or ()), list(map(Digest.parse, digest or ()))
    async with context.open_store(change=True) as store:
        created = await store.leases.create(lease, expires=expires, labels=labels)
        if named:
            await store.leases.add(created.id, digests=named)
        await _emit(context, store, created)


async def rm(
    *leases: Annotated[str, Parameter(name="ID", required=True)],
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """End leases; a program that works under one of them notices at its next call.

    Args:
        leases: IDs of leases.
        context: the run.
    """
    context.begin("ended", "leases")
    async with context.open_store(change=True) as store:
        for lease in leases:
            try:
                await store.leases.delete(lease)
            except SteelyardError as error:
                context.fail(error, about=lease)
                continue
            context.counts["leases"] += 1
            await context.out.emit(EndedLeaseRecord(id=lease), shown(lease))


async def _emit(context: Context, store: Store, lease: Lease) -> None:
    found = await store.leases.resources(lease.id)
    context.counts["leases"] += 1
    record = LeaseRecord.of(lease, found)
    await context.out.emit(record, shown(lease.id) if context.quiet else _line_of(record))


def _line_of(lease: LeaseRecord) -> str:
    if lease.process is not None:
        end = f"with process {lease.process}"
    else:
        end = "-" if lease.expires_at is None else timestamp(lease.expires_at)
    labels = " ".join(shown(f"{key}={value}") for key, value in lease.labels.items())
    return f"{shown(lease.id)}  {len(lease.blobs)}  {len(lease.refs)}  {end}  {labels}".rstrip()
