"""`label` and `rm`: change labels and delete blobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from steelyard.cli.collecting import phrase
from steelyard.cli.complete import complete_digest
from steelyard.cli.context import MOST_LISTED, Context
from steelyard.cli.exits import BlobNeeded
from steelyard.cli.explain import UsageError
from steelyard.cli.look import line_of
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, exact_size, resolve, resolve_one
from steelyard.cli.parameters import Parameter
from steelyard.cli.records import BlobRecord, RemovedRecord
from steelyard.collection import Reason
from steelyard.content import Store
from steelyard.digest import Digest
from steelyard.errors import SteelyardError, Unsupported
from steelyard.model import Labels


async def label(
    digest: Annotated[str, Parameter(name="DIGEST", completer=complete_digest)],
    /,
    *changes: Annotated[str, Parameter(name="CHANGE", required=True)],
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Set and remove labels of a blob.

    Other labels do not change.

    Args:
        digest: a digest, or at least 8 hex digits of one.
        changes: KEY=VALUE sets a label, KEY- removes one.
        context: the run.
    """
    values = parse_changes(changes)
    context.begin("blobs", "blobs")
    async with context.open_store(change=True) as store:
        found = await store.info(await resolve_one(store, digest))
        labels = Labels({key: value for key, value in values.items() if value is not None})
        wanted = msgspec.structs.replace(found, labels=labels)
        updated = await store.update(wanted, *(f"labels.{key}" for key in values))
        context.counts["blobs"] = 1
        await context.out.emit(BlobRecord.of(updated), str(updated.digest) if context.quiet else line_of(updated))


async def rm(
    *digests: Annotated[str, Parameter(name="DIGEST", completer=complete_digest, required=True)],
    dry_run: bool = False,
    force: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Delete blobs.

    A blob that an image name, a label, a lease or an ingest needs is not deleted, and the exit code is 4; `steelyard why` says what needs
    it. On a terminal, more than 100 digests give progress and a summary; --verbose prints the digests, too.

    Args:
        digests: digests, or at least 8 hex digits of each.
        dry_run: only print the blobs.
        force: delete blobs that something needs, too.
        context: the run.
    """
    many = len(digests) > MOST_LISTED and not dry_run
    meter = Meter(items="blob", items_total=len(digests), activity="deleting") if many else None
    context.begin("removed", "blobs", "bytes", meter=meter, many=many)
    async with context.open_store(change=not dry_run) as store:
        names = await resolve(store, digests)
        needed = {} if force else await _needed(store, names)
        for text, name in zip(digests, names, strict=True):
            try:
                if isinstance(name, SteelyardError):
                    raise name
                if name in needed:
                    raise BlobNeeded(str(name), reason=phrase(needed[name]))
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


async def _needed(store: Store, names: Iterable[Digest | SteelyardError]) -> dict[Digest, Reason]:
    """Return why blobs are needed, for those that are. A store that does not collect cannot know."""
    try:
        reasons = await store.reasons([name for name in names if not isinstance(name, SteelyardError)])
    except Unsupported:
        return {}
    return {digest: reason for digest, reason in reasons.items() if reason.root is not None}


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
