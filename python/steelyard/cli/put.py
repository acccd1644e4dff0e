"""`put`: store files, trees and streams."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from steelyard._runtime.calls import run
from steelyard.cli.context import MOST_LISTED, Context
from steelyard.cli.explain import UsageError
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, labels_of
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import path_shown
from steelyard.cli.protecting import kept_for_a_day
from steelyard.cli.put_command import PutCommand, Request
from steelyard.cli.sources import given
from steelyard.digest import Algorithm


async def put(
    *sources: Annotated[str, Parameter(name="FILE", required=True)],
    recursive: Annotated[bool, Parameter(name=["--recursive", "-r"])] = False,
    label: list[str] | None = None,
    algorithm: Algorithm | None = None,
    expected: str | None = None,
    ref: str | None = None,
    verify: bool = False,
    fail_if_exists: bool = False,
    name: str | None = None,
    times: bool = False,
    owners: bool = False,
    reread: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Store files, directory trees or standard input, and print their digests.

    Content that is already stored counts as success. To resume a file of 16 MiB or more after an interruption, repeat the
    command. To resume standard input, use --ref and give the same bytes from the start again.

    On a terminal, -r shows progress and a summary; --verbose prints the digests, too. With -r and --name, one directory is stored as a tree,
    which `steelyard checkout` writes into a directory again. Files that have not changed since the last time are not read.

    Args:
        sources: files, directories with -r, or - for standard input.
        recursive: store all files below a directory. Symbolic links and special files are skipped.
        label: KEY=VALUE, set on new blobs; may be repeated.
        algorithm: the digest algorithm; by default that of --expected, or sha256.
        expected: the digest that the source must have; if it is already stored, the source is not read.
        ref: the name of the ingest, to make standard input resumable.
        verify: read the kept bytes of an interrupted put again, before they are published.
        fail_if_exists: exit with code 4 if the content is already stored.
        name: an image name: store the directory as a tree, and give it this name.
        times: with --name, also keep the modification time of each file.
        owners: with --name, also keep the user and the group of each file.
        reread: with --name, read all files, including those that seem unchanged.
        context: the run.
    """
    if len(sources) > 1 and (ref is not None or expected is not None):
        option = "--ref" if ref is not None else "--expected"
        raise UsageError(f"{option}: expected one source, found {len(sources)}", next_step="steelyard put --help")
    if sources.count("-") > 1:
        raise UsageError("-: standard input can be read only once", next_step="steelyard put --help")
    if name is not None:
        if not recursive or label or ref is not None or expected is not None or verify or fail_if_exists:
            message = "--name: expected -r, and none of --label, --ref, --expected, --verify and --fail-if-exists"
            raise UsageError(message, next_step="steelyard put --help")
        from steelyard.cli.trees import put_named  # noqa: PLC0415 - other puts do not need it

        await put_named(context, sources, name, algorithm=algorithm, times=times, owners=owners, reread=reread)
        return
    if times or owners or reread:
        raise UsageError("--times, --owners and --reread: expected --name", next_step="steelyard put --help")
    request = Request(
        labels=labels_of(label or ()),
        algorithm=algorithm,
        expected=expected,
        ref=ref,
        recursive=recursive,
        verify=verify,
        fail_if_exists=fail_if_exists,
    )
    meter = Meter(items="file", activity="storing") if recursive or len(sources) > 1 else Meter()
    many = recursive or len(sources) > MOST_LISTED
    context.begin("puts", "files", "bytes", "new", "existing", "skipped", meter=meter, many=many)
    refused = partial(_reasons, sources, recursive=recursive, program=context.program)
    if await context.makes_store() and len(reasons := await run(refused)) == len(sources):
        for source, reason in zip(sources, reasons, strict=True):  # without making a store
            context.fail(reason, about=path_shown(source))
        return
    # The protocol of a server has no check of resumed bytes.
    opened = context.open_local(create=True) if verify else context.open_store(create=True)
    async with opened as store:
        command = PutCommand(context, await kept_for_a_day(context, store, "stored"), request)
        await command.run(sources)
    _sum_up(context, command)


def _reasons(sources: Sequence[str], *, recursive: bool, program: str) -> list[Exception]:
    """Return the reason for each source that cannot be stored."""
    found = [given(source, recursive=recursive, program=program) for source in sources if source != "-"]
    return [one.error for one in found if one.error is not None]


def _sum_up(context: Context, command: PutCommand) -> None:
    for reason, number in sorted(command.skipped.items()):
        context.conclude(f"skipped: {number} × {reason}")
    counts = context.counts
    what = counted(counts["files"], "file")
    context.conclude(f"{what}, {amount(counts['bytes'])}: {counts['new']} new, {counts['existing']} already there")
    if counts["existing"] and command.request.labels:
        context.conclude("existing blobs keep their labels; `steelyard label` changes them")
