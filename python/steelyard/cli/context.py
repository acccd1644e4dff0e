"""The context of every command: options, store, results and notices."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import msgspec

from steelyard._lazy import Module
from steelyard._places import has_blobs, is_address, is_object_storage, objects_at, written_out
from steelyard.cli import stdio
from steelyard.cli.addresses import NoStore, check_new_root, open_remote
from steelyard.cli.exits import Exit, combined
from steelyard.cli.explain import Report, explain, leaves, path_of
from steelyard.cli.meter import Meter
from steelyard.cli.output import Output
from steelyard.cli.printing import printable, quoted
from steelyard.cli.progress import Display, choose_mode
from steelyard.cli.settings import Settings, load
from steelyard.errors import Unsupported

if TYPE_CHECKING:
    from steelyard._runtime import calls
    from steelyard.cli.commands import Options
    from steelyard.cli.listing import Listing
    from steelyard.content import Store
    from steelyard.local import LocalStore
    from steelyard.local.blocking import BlockingStore, OpenOptions
    from steelyard.model import OnProgress, Progress
    from steelyard.objects import ObjectStore
else:
    calls = Module("steelyard._runtime.calls")

__all__ = ("MOST_LISTED", "Context")

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")

_LISTED_FAILURES = 20

MOST_LISTED = 100
"""If a command line has more names than this, a terminal shows a summary instead of a list."""


class Context:
    """One run of one command.

    Attributes:
        options: the options on the command line.
        settings: the store's root, the format, the backend, the durability, each with its origin.
        out: standard output.
        display: progress.
        lists: whether text output has a line for each item. Without it, a terminal shows progress and the summary.
        counts: the counts of finished work; also the result if the command fails or is interrupted.
        command: the command's name.
        words: the command line, for messages that repeat it.
        program: the start of a command line for the same store.
        has_loop: whether the command runs in an event loop. Otherwise it may only read a store on this machine's disk.
        result: the exit code of a command without failures.
        drain: called at the first signal instead of cancelling the command, which must then end by itself.

    Raises (when it is made):
        InvalidArgument: the value of an option is invalid.
    """

    def __init__(
        self, options: Options, words: Sequence[str], command: str | None = None, *, may_wait: bool = True
    ) -> None:
        flags: Mapping[str, str | None] = {
            "store": None if options.store is None else os.fspath(options.store),
            "format": options.format,
            "backend": options.backend,
            "durability": options.durability,
        }
        self.options = options
        self.command = command
        self.settings: Settings = load(flags)
        self.words: list[str] = list(words)
        self.program: str = (
            "steelyard" if options.store is None else f"steelyard --store {quoted(os.fspath(options.store))}"
        )
        self.display: Display = Display(choose_mode(quiet=options.quiet, no_progress=options.no_progress))
        self.has_loop: bool = may_wait or is_address(self.settings.store.value)
        self.out: Output = Output(
            self.settings.output_format, while_writing=self._while_writing, has_loop=self.has_loop
        )
        self.lists: bool = True
        self.counts: dict[str, int] = {}
        self.failures: list[Report] = []
        self.interrupt_lines: list[str] = []
        self.conclusion: list[str] = []
        self.result: Exit = Exit.OK
        self.drain: Callable[[], object] | None = None

    @property
    def quiet(self) -> bool:
        """Whether text output is digests or refs only, and standard error has errors only."""
        return self.options.quiet

    def begin(self, plural: str, *counts: str, meter: Meter | None = None, many: bool = False) -> Meter:
        """Set the names of the command's records and counts, and show its progress.

        Args:
            plural: the name of its list of records.
            counts: the names of its counts, which are now 0.
            meter: its progress.
            many: there may be too many items to read: on a terminal, only --verbose and --quiet list them.
        """
        self.out.plural = plural
        on_terminal = stdio.is_terminal(stdio.STDOUT) and stdio.is_terminal(stdio.STDERR)
        self.lists = not (many and on_terminal) or self.options.verbose or self.quiet
        self.counts = dict.fromkeys(counts, 0)
        return self.display.begin(meter or Meter())

    async def report(self, record: Callable[[], msgspec.Struct], line: Callable[[], str], name: str) -> None:
        """Report one of many items. Only the form that is shown is made.

        Args:
            record: returns its JSON.
            line: returns its line of text.
            name: its digest or ref. With --quiet, only this is printed.
        """
        if self.out.shape != "text":
            self.out.add(record())
        elif self.lists:
            self.out.add_line(name if self.quiet else line())
        if self.out.is_due:
            await self.out.flush()

    def note(self, text: str) -> None:
        """Print a notice on standard error, unless --quiet is set."""
        if not self.quiet:
            self.say(text)

    def telling(self, take: OnProgress | None) -> OnProgress:
        """Return a callback for reports of the library. It also prints a notice when the library waits for another process."""

        def observe(report: Progress) -> None:
            if report.phase == "wait":
                self.note(f"{report.name}: another writer stores the same; waiting for it")
            if take is not None:
                take(report)

        return observe

    def say(self, text: str) -> None:
        """Print a message on standard error, even with --quiet."""
        self.display.say(f"steelyard: {printable(text)}")

    def fail(self, error: BaseException, *, about: str | None = None, helps: bool = True) -> None:
        """Report an error, and the next step unless that is the same command. The exit code will not be 0."""
        for leaf in leaves(error):
            report = explain(leaf, program=self.program, command=self.command, about=about or path_of(leaf))
            if not helps:
                report = msgspec.structs.replace(report, next_step=None)
            self.failures.append(report)
            self.out.fail(report.record())
            lines = [f"steelyard: error: {report.message}", *(f"  {line}" for line in report.details)]
            if report.next_step is not None:
                lines.append(f"  next: {report.next_step}")
            if self.options.debug:
                import traceback  # noqa: PLC0415 - for this option only

                lines += (line.removesuffix("\n") for line in traceback.format_exception(leaf))
            self.display.say(*lines)

    def conclude(self, text: str) -> None:
        """Print this notice at the end, after all results. If the run is interrupted, it is not printed."""
        self.conclusion.append(text)

    def say_conclusion(self) -> None:
        """Print the notices for the end, and repeat the failures, because they may have scrolled away between results."""
        for text in self.conclusion:
            self.note(text)
        if len(self.failures) < 2:
            return
        self.say(f"{len(self.failures)} failed:")
        self.display.say(*(f"  {report.message}" for report in self.failures[:_LISTED_FAILURES]))
        if len(self.failures) > _LISTED_FAILURES:
            self.display.say(f"  and {len(self.failures) - _LISTED_FAILURES} more")

    def exit_code(self) -> Exit:
        """Return the exit code of the failures so far, or that of the result if there are none."""
        return combined(report.exit for report in self.failures) if self.failures else self.result

    def on_interrupt(self, text: str) -> None:
        """Add a line that is printed if the run is interrupted: what was kept, and the command that continues."""
        self.interrupt_lines.append(printable(text))

    @property
    def same_command(self) -> str:
        """This command line, ready to be repeated."""
        return " ".join(["steelyard", *map(quoted, self.words)])

    @asynccontextmanager
    async def open_store(
        self, *, create: bool = False, change: bool = False, write_buffer_bytes: int | None = None
    ) -> AsyncIterator[Store]:
        """Open the store, on this machine's disk or behind a server; see `open_local`."""
        if is_address(self.settings.store.value):
            address, read_only = self.settings.store.value, not (create or change)
            async with open_remote(address, read_only=read_only, create=create) as remote:
                yield remote
            return
        async with self.open_local(create=create, change=change, write_buffer_bytes=write_buffer_bytes) as store:
            yield store

    @asynccontextmanager
    async def open_own(self, *, change: bool = False) -> AsyncIterator[LocalStore | ObjectStore]:
        """Open a store that reads its own blobs: on this machine's disk or in a bucket, not behind a server; see `open_local`."""
        if not is_address(self.settings.store.value):
            async with self.open_local(change=change) as local:
                yield local
            return
        async with self.open_objects(change=change, needs="the root of a store, or a bucket") as objects:
            yield objects

    @asynccontextmanager
    async def open_objects(
        self, *, change: bool = False, needs: str = "a bucket, s3://BUCKET/PREFIX"
    ) -> AsyncIterator[ObjectStore]:
        """Open the store in a bucket; a missing one is not created.

        Args:
            change: the command changes something.
            needs: the kind of store that the command works on, for the error.

        Raises:
            Unsupported: the store is not on this machine's disk.
        """
        address = self.settings.store.value
        if not is_object_storage(address):
            where = written_out(address) if is_address(address) else address
            raise Unsupported(where, operation=f"{self.command}; it needs {needs}")
        async with objects_at(address, read_only=not change, create=False) as objects:
            yield objects

    @asynccontextmanager
    async def open_listing(self) -> AsyncIterator[Listing]:
        """Open the store for reading, as `open_store` does, without an event loop if there is none."""
        if self.has_loop:
            async with self.open_store() as store:
                yield store
            return
        from steelyard.cli.listing import ListingHere  # noqa: PLC0415 - the extension, which help does not need
        from steelyard.local.blocking import BlockingStore  # noqa: PLC0415

        with BlockingStore.open(await self._options(change=False)) as opened:
            for note in opened.notes():
                self.note(note)
            yield ListingHere(opened, before_page=self.out.flush)

    @asynccontextmanager
    async def open_local(
        self, *, create: bool = False, change: bool = False, write_buffer_bytes: int | None = None
    ) -> AsyncIterator[LocalStore]:
        """Open the store on this machine's disk.

        Reading never turns a directory into a store: without `create`, a missing root is an error, and without
        `change`, a root that was not made by Steelyard or cannot be written is opened read-only.

        Args:
            create: make the root if it is missing.
            change: the command changes something.
            write_buffer_bytes: as in `LocalStore`, or None for its default.

        Raises:
            NoStore: there is no store.
            UsageError: the new store would be in a directory with other files.
            Unsupported: the store is not on this machine's disk.
            StorageError, FailedPrecondition: see `LocalStore`.
        """
        from steelyard.local import LocalStore  # noqa: PLC0415 - the extension, which help does not need

        read_only = await self._check_local(create=create, change=change)
        made = partial(LocalStore, self.settings.store_path, read_only=read_only)
        if write_buffer_bytes is not None:
            made = partial(made, write_buffer_bytes=write_buffer_bytes)
        async with made(durability=self.settings.durability_name) as store:
            for note in store.notes():
                self.note(note)
            yield store

    async def with_blocking(
        self, work: Callable[[BlockingStore], ResultT], *, change: bool = False, print_notes: bool = True
    ) -> ResultT:
        """Open the store on this machine's disk, call `work` with its blocking core, and close it, in one call.

        Args:
            work: called on a thread, or in place without an event loop.
            change: see `open_local`, which raises the same.
            print_notes: print the store's notes on its own problems.
        """
        from steelyard.local.blocking import BlockingStore  # noqa: PLC0415 - as above

        options = await self._options(change=change)

        def opened() -> tuple[list[str], ResultT]:
            with BlockingStore.open(options) as store:
                return store.notes(), work(store)

        notes, result = await self.call(opened)
        for note in notes if print_notes else ():
            self.note(note)
        return result

    async def makes_store(self) -> bool:
        """Return whether opening the store with `create` would make a new store."""
        if is_address(self.settings.store.value):
            return False
        _, is_store, _ = await self.call(_look_at, str(self.settings.store_path))
        return not is_store

    async def call(self, function: Callable[[*ArgsT], ResultT], *args: *ArgsT) -> ResultT:
        """Call a function that uses the disk: on a thread, or in place without an event loop."""
        return await calls.run(function, *args) if self.has_loop else function(*args)

    async def _options(self, *, change: bool) -> OpenOptions:
        """Return the options for opening the store on this machine's disk; see `open_local`."""
        from steelyard.local.blocking import OpenOptions  # noqa: PLC0415 - the extension, which help does not need

        read_only = await self._check_local(create=False, change=change)
        path, durability = self.settings.store_path, self.settings.durability_name
        return OpenOptions.parse(path, read_only=read_only, durability=durability)

    async def _check_local(self, *, create: bool, change: bool) -> bool:
        """Return whether the store on this machine's disk must be opened read-only; see `open_local`."""
        if is_address(self.settings.store.value):
            raise Unsupported(
                written_out(self.settings.store.value), operation="this command; it needs the root of a store"
            )
        path = self.settings.store_path
        exists, is_store, ours = await self.call(_look_at, str(path))
        if not is_store and not create:
            raise NoStore(str(path), exists=exists, origin=self.settings.store.origin)
        if not is_store:
            await self.call(check_new_root, str(path))
        return not (create or change or ours)

    def _while_writing(self) -> AbstractContextManager[None]:
        return self.display.paused() if stdio.is_terminal(stdio.STDOUT) else nullcontext()


def _look_at(path: str) -> tuple[bool, bool, bool]:
    """Return whether the path exists, whether it has readable blobs, and whether it is a writable store."""
    ours = os.path.isfile(os.path.join(path, "steelyard.json"))  # noqa: PTH113, PTH118 - one call each, on a thread
    return os.path.lexists(path), has_blobs(path), ours and os.access(path, os.W_OK)
