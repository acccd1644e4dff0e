"""`checkout`, `diff` and `ls-tree`; and `put -r DIR --name NAME`: directories in the store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

from steelyard._places import is_address
from steelyard._runtime.calls import run
from steelyard.cli.complete import complete_image
from steelyard.cli.context import Context
from steelyard.cli.exits import Exit
from steelyard.cli.explain import UsageError
from steelyard.cli.image_names import find_image
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, exact_size
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import path_hex, path_shown, path_text, shown
from steelyard.cli.settings import cache_path
from steelyard.cli.tree_records import ChangeRecord, CheckedOutRecord, EntryRecord, TreeRecord
from steelyard.content import Store
from steelyard.digest import Algorithm
from steelyard.errors import NotFound
from steelyard.model import DEFAULT_ALGORITHM, Progress
from steelyard.names import check_name
from steelyard.trees import Change, Entry, Tree, put_tree, tree_of
from steelyard.trees import checkout as check_out
from steelyard.trees import diff as differences

__all__ = ("checkout", "diff", "ls_tree", "put_named")

_SIGNS = {"added": "A", "removed": "D", "changed": "M"}


class _Meter(Meter):
    """Counts files and their bytes. Each file is reported once, when it is done."""

    def observe(self, report: Progress) -> None:
        """Take in a report."""
        self.items_done += 1
        self.finished(report.name, report.done)


async def checkout(
    name: Annotated[str, Parameter(name="NAME", completer=complete_image)],
    path: Annotated[str, Parameter(name="DIR")],
    /,
    *,
    delete: bool = False,
    hard_links: bool = False,
    owners: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Write the files of a tree into a directory.

    Each file is verified, and gets its name when it is complete. Files that already exist stay, so after an interruption
    the same command writes the rest. Nothing is written outside of DIR.

    Args:
        name: the name of a tree: of put -r --name, or of another program that makes OCI artifacts, such as oras.
        path: the directory; it is created if it is missing.
        delete: remove everything that the tree lacks.
        hard_links: link files that are not executable to the store's own files instead of copying them; never change such a file.
        owners: set the owners that put --owners has stored.
        context: the run.
    """
    meter = _Meter(items="file", activity="writing")
    context.begin("checkouts", "files", "bytes", "written", "removed", meter=meter)
    context.on_interrupt(f"whole files are kept; go on with: {context.same_command}")
    async with context.open_store() as store:
        image = await find_image(store, name)
        with _counting_failures(context):
            found = await check_out(
                store,
                image.name,
                path,
                delete=delete,
                hard_links=hard_links,
                owners=owners,
                on_progress=meter.observe,
            )
    digest = str(found.target.digest)
    counts = {"files": found.files, "bytes": found.bytes, "written": found.written, "removed": found.removed}
    context.counts.update(counts)
    record = CheckedOutRecord(name=image.name, digest=digest, path=path_text(path), path_hex=path_hex(path), **counts)
    await context.out.emit(record, digest if context.quiet else f"{digest}  {path_shown(path)}")
    context.conclude(
        f"{counted(found.files, 'file')}, {amount(found.bytes)}: {found.written} written"
        + (f", {found.removed} removed" if found.removed else "")
    )


@contextmanager
def _counting_failures(context: Context) -> Iterator[None]:
    """Print at the end how many entries failed: the group has the first errors only."""
    try:
        yield
    except ExceptionGroup as error:
        if len(error.exceptions) > 1:
            context.conclude(error.message)
        raise


async def ls_tree(
    name: Annotated[str, Parameter(name="NAME", completer=complete_image)],
    path: Annotated[str | None, Parameter(name="PATH")] = None,
    /,
    *,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """List the files, links and empty directories of a tree.

    A line for each: digest, size and path of a file; * marks an executable one.

    Args:
        name: the name of a tree.
        path: list only this entry, or the entries below this directory.
        context: the run.
    """
    context.begin("entries", "entries", "bytes")
    prefix = (path or "").strip("/")
    async with context.open_store() as store:
        tree = await tree_of(store, (await find_image(store, name)).name)
        async with aclosing(tree.entries()) as entries:
            async for entry in entries:
                if prefix and entry.path != prefix and not entry.path.startswith(f"{prefix}/"):
                    continue
                context.counts["entries"] += 1
                context.counts["bytes"] += entry.size or 0
                await context.out.emit(EntryRecord.of(entry), _line(entry, quiet=context.quiet))
        if prefix and not context.counts["entries"]:
            context.fail(NotFound(prefix, kind="entry of the tree"), helps=False)


def _line(entry: Entry, *, quiet: bool) -> str:
    if entry.kind == "file":
        mark = "*" if entry.executable else ""
        return (
            str(entry.digest) if quiet else f"{entry.digest}  {exact_size(entry.size or 0)}  {shown(entry.path)}{mark}"
        )
    if quiet:
        return ""
    return f"{shown(entry.path)} -> {shown(entry.target or '')}" if entry.kind == "link" else f"{shown(entry.path)}/"


async def diff(
    before: Annotated[str, Parameter(name="A", completer=complete_image)],
    after: Annotated[str, Parameter(name="B", completer=complete_image)],
    /,
    *,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Compare two trees, or a tree and a directory.

    A line for each entry that differs: A for one that only B has, D for one that only A has, M for another file, link or
    kind. The exit code is 1 if there are differences.

    Args:
        before: the name of a tree, or a directory. A word that looks like a path, such as ./photos, is a directory.
        after: the same.
        context: the run.
    """
    context.begin("changes", "added", "removed", "changed")
    async with AsyncExitStack() as stack:
        sides = await stack.enter_async_context(_sides(context, (before, after)))
        async with aclosing(differences(*sides)) as changes:
            async for change in changes:
                context.counts[change.kind] += 1
                context.result = Exit.ERROR
                await context.out.emit(ChangeRecord.of(change), _change_line(change, quiet=context.quiet))


@asynccontextmanager
async def _sides(context: Context, words: tuple[str, str]) -> AsyncIterator[list[Tree | Path]]:
    if all(map(_is_path, words)):
        yield [Path(word) for word in words]
        return
    async with context.open_store() as store:
        yield [Path(word) if _is_path(word) else await _tree(store, word) for word in words]


async def _tree(store: Store, word: str) -> Tree | Path:
    """Return the tree of that name, or the directory if there is none."""
    try:
        image = await find_image(store, word)
    except NotFound:
        if await run(os.path.isdir, word):
            return Path(word)
        raise
    return await tree_of(store, image.name)


def _is_path(word: str) -> bool:
    return word.startswith(("/", "./", "../")) or word.endswith("/") or word in {".", ".."}


def _change_line(change: Change, *, quiet: bool) -> str:
    return shown(change.path) if quiet else f"{_SIGNS[change.kind]}  {shown(change.path)}"


async def put_named(
    context: Context,
    sources: tuple[str, ...],
    name: str,
    *,
    algorithm: Algorithm | None,
    times: bool,
    owners: bool,
    reread: bool,
) -> None:
    """Store a directory as a tree, and name it."""
    if len(sources) != 1 or sources[0] == "-":
        raise UsageError("--name: expected one directory", next_step="steelyard put --help")
    check_name(name)
    (source,) = sources
    meter = _Meter(items="file", activity="storing")
    context.begin("trees", "files", "links", "bytes", "read", "new", meter=meter)
    context.on_interrupt(f"no name was set; files that were stored are kept; go on with: {context.same_command}")
    await run(os.listdir, source)  # raises if there is no directory, before a store is made
    async with context.open_store(create=True) as store:
        with _counting_failures(context):
            found = await put_tree(
                store,
                source,
                name=name,
                algorithm=algorithm or DEFAULT_ALGORITHM,
                times=times,
                owners=owners,
                cache=cache_path() / "trees",
                reread=reread,
                leave_out=None if is_address(context.settings.store.value) else context.settings.store_path,
                on_progress=meter.observe,
            )
    digest = str(found.target.digest)
    counts = {each: getattr(found, each) for each in ("files", "links", "bytes", "read", "new")}
    context.counts.update(counts)
    record = TreeRecord(
        name=name,
        digest=digest,
        size=found.target.size,
        media_type=found.target.media_type,
        skipped=[path for path, _ in found.skipped],
        changed=list(found.changed),
        **counts,
    )
    for path, reason in found.skipped:
        context.note(f"skipped: {path_shown(path)}: {reason}")
    for path in found.changed:
        context.note(f"changed while it was read: {path_shown(path)}")
    await context.out.emit(record, digest if context.quiet else f"{digest}  {shown(name)}")
    context.conclude(
        f"{counted(found.files, 'file')}, {amount(found.bytes)}: {found.new} new, "
        f"{found.files - found.read} unchanged and not read"
    )
