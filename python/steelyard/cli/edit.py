"""`label` and `rm`: change labels and delete blobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from steelyard.cli.collecting import phrase
from steelyard.cli.complete import complete_digest
from steelyard.cli.context import MOST_LISTED, Context
from steelyard.cli.edit_many import label_all, needed, remove_all
from steelyard.cli.exits import BlobNeeded
from steelyard.cli.explain import UsageError
from steelyard.cli.look import line_of
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, exact_size, resolve, resolve_one
from steelyard.cli.parameters import Parameter
from steelyard.cli.records import BlobRecord, RemovedRecord
from steelyard.errors import SteelyardError
from steelyard.model import Labels


async def label(
    digest: Annotated[str | None, Parameter(name="DIGEST", completer=complete_digest)] = None,
    /,
    *changes: Annotated[str, Parameter(name="CHANGE")],
    filters: Annotated[list[str] | None, Parameter(name="--filter")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Set and remove labels of a blob, or of all blobs that match a filter.

    Other labels do not change. On a terminal, --filter gives progress and a summary; --verbose prints the blobs, too.

    Args:
        digest: a digest, or at least 8 hex digits of one; not with --filter.
        changes: KEY=VALUE sets a label, KEY- removes one.
        filters: change all blobs that match it, in place of DIGEST; may be repeated: the filters are alternatives.
        context: the run.
    """
    if filters is not None and digest is not None:
        changes, digest = (digest, *changes), None
    if not changes or (filters is None and digest is None):
        raise UsageError("expected DIGEST or --filter, and KEY=VALUE or KEY-", next_step="steelyard label --help")
    values = parse_changes(changes)
    if digest is None:
        await label_all(context, filters or (), values)
        return
    context.begin("blobs", "blobs")
    async with context.open_store(change=True) as store:
        found = await store.info(await resolve_one(store, digest))
        labels = Labels({key: value for key, value in values.items() if value is not None})
        wanted = msgspec.structs.replace(found, labels=labels)
        updated = await store.update(wanted, *(f"labels.{key}" for key in values))
        context.counts["blobs"] = 1
        await context.out.emit(BlobRecord.of(updated), str(updated.digest) if context.quiet else line_of(updated))


async def rm(
    *digests: Annotated[str, Parameter(name="DIGEST", completer=complete_digest)],
    filters: Annotated[list[str] | None, Parameter(name="--filter")] = None,
    dry_run: bool = False,
    force: bool = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Delete blobs.

    A blob that an image name, a label, a lease or an ingest needs is not deleted, and the exit code is 4; `steelyard why` says why it is
    needed. On a terminal, --filter and more than 100 digests give progress and a summary; --verbose prints the digests, too.

    Args:
        digests: digests, or at least 8 hex digits of each; not with --filter.
        filters: delete all blobs that match it; may be repeated: the filters are alternatives. On a terminal, it asks first.
        dry_run: only print the blobs.
        force: also delete blobs that are needed.
        yes: with --filter, do not ask; required without a terminal.
        context: the run.
    """
    if bool(digests) == (filters is not None):
        found = "both" if digests else "neither"
        raise UsageError(f"expected DIGEST… or --filter, found {found}", next_step="steelyard rm --help")
    if filters is not None:
        await remove_all(context, filters, dry_run=dry_run, force=force, yes=yes)
        return
    many = len(digests) > MOST_LISTED and not dry_run
    meter = Meter(items="blob", items_total=len(digests), activity="deleting") if many else None
    context.begin("removed", "blobs", "bytes", "kept", meter=meter, many=many)
    async with context.open_store(change=not dry_run) as store:
        names = await resolve(store, digests)
        known = [name for name in names if not isinstance(name, SteelyardError)]
        reasons = {} if force else await needed(store, known)
        for text, name in zip(digests, names, strict=True):
            try:
                if isinstance(name, SteelyardError):
                    raise name
                if name in reasons:
                    context.counts["kept"] += 1
                    raise BlobNeeded(str(name), reason=phrase(reasons[name]))
                size = (await store.info(name)).size
                if not dry_run:
                    await store.delete(name)
            except SteelyardError as error:
                context.fail(error, about=text)
                continue
            context.display.finished(text, size)
            context.counts["blobs"] += 1
            context.counts["bytes"] += size
            record = RemovedRecord(digest=str(name), size=size, dry_run=dry_run)
            line = str(name) if context.quiet else f"{name}  {exact_size(size)}"
            await context.out.emit(record, line if context.lists else "")
    what = "would delete" if dry_run else "deleted"
    context.conclude(f"{what} {counted(context.counts['blobs'], 'blob')}, {amount(context.counts['bytes'])}")


def parse_changes(words: Iterable[str]) -> dict[str, str | None]:
    """Return the new value of each named label, or None to remove it.

    Raises:
        UsageError: a word is neither KEY=VALUE nor KEY-.
    """
    values: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key:
            values[key] = value
        elif not equals and len(word) > 1 and word.endswith("-"):
            values[word[:-1]] = None
        else:
            raise UsageError(f"label {word!r}: expected KEY=VALUE or KEY-", next_step="steelyard label --help")
    return values
