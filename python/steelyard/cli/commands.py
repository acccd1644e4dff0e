"""The table of commands, the options of every command, and the parsing of the command's name.

A command is loaded when it is called. The list of commands in `--help` needs only this table, so it is fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple

from steelyard.cli.parameters import Parameter, fields_of
from steelyard.cli.parse import options_by_name, positional

__all__ = ("COMMANDS", "GROUPS", "LOOKS", "OPTIONS", "CommandLine", "Options", "function_of", "split")

COMMANDS: dict[str, tuple[str, str]] = {
    "put": ("put:put", "Store files, directory trees or standard input, and print their digests."),
    "fetch": ("fetching:fetch", "Download files by their URLs, and print their digests."),
    "get": ("get:get", "Write a blob to a file or to standard output."),
    "ls": ("look:ls", "List blobs."),
    "info": ("look:info", "Show size, times and labels of blobs."),
    "label": ("edit:label", "Set and remove labels of a blob, or of all blobs that match a filter."),
    "rm": ("edit:rm", "Delete blobs."),
    "gc": ("collecting:gc", "Remove blobs that nothing needs any more, beside all other work on the store."),
    "why": ("collecting:why", "Say what keeps blobs, or since when they are garbage."),
    "ingests": ("ingests:ingests", "List unfinished ingests."),
    "abort": ("ingests:abort", "Discard unfinished ingests, or abandoned uploads to object storage."),
    "verify": ("check:verify", "Read blobs again and compare them with their digests."),
    "quarantine": ("quarantine:quarantine", "List damaged copies of blobs that were moved aside, or remove them."),
    "stat": ("look:stat", "Count the blobs, ingests and quarantined copies of the store, and their bytes."),
    "doctor": ("doctor:doctor", "Show versions, settings and the store's health; rebuild its metadata."),
    "import": ("importing:import_", "Import images from an archive, standard input, an image layout or another store."),
    "export": ("export:export", "Export images to an archive, standard output, an image layout or another store."),
    "checkout": ("trees:checkout", "Write the files of a tree into a directory."),
    "diff": ("trees:diff", "Compare two trees, or a tree and a directory."),
    "ls-tree": ("trees:ls_tree", "List the files, links and empty directories of a tree."),
    "cp": ("copying:cp", "Copy blobs from one store to another."),
    "images ls": ("images:ls", "List image names."),
    "images inspect": ("images:inspect", "Show the blobs of an image."),
    "images tag": ("images:tag", "Add names to an image."),
    "images rm": ("images:rm", "Remove image names; the blobs stay stored."),
    "images check": ("images_check:check", "Check whether images are complete, and list absent blobs."),
    "images usage": ("images_check:usage", "Count the blobs of images and their bytes."),
    "images convert": ("images_check:convert", "Convert an image to OCI's media types, or to some of its platforms."),
    "leases ls": ("leases:ls", "List leases."),
    "leases create": ("leases:create", "Create a lease, and print it."),
    "leases rm": ("leases:rm", "End leases; a program that works under one of them notices at its next call."),
    "serve containerd": (
        "serve:containerd",
        "Serve the store to containerd, as its content store, on a Unix socket.",
    ),
    "help": ("topics:help_", "Show help on a command or a topic."),
    "completion": ("topics:completion", "Print or install shell completion."),
}
"""The function of each command, below this package, and its summary: the first line of the function's docstring."""

LOOKS = frozenset({"ls", "info", "ingests", "stat", "images ls"})
"""The commands that only read a store. If the store is on this machine's disk, they run without an event loop."""

GROUPS: dict[str, str] = {
    "images": "List, name, check and convert images.",
    "leases": "List, create and end leases, which keep blobs without a name.",
    "serve": "Offer the store to other programs.",
}
"""The first word of commands of two words, and the summary of each group."""


class Options(NamedTuple):
    """The options of every command, before or after its name.

    Attributes:
        store: The store's root, containerd:///PATH/OF/SOCKET?namespace=NAME, or s3://BUCKET/PREFIX?endpoint=URL. Otherwise
            $STEELYARD_STORE, `store` in the config file, or the platform's data directory.
        format: The format of the output: readable text, one JSON document, or one JSON record per line.
        quiet: Print digests or refs only, one per line; no notices, no progress.
        verbose: Print a line for each file or blob, where a terminal would get a summary: put -r, --all, --filter, gc, and long lists.
        no_progress: Show no progress on standard error.
        durability: The failure that a finished write survives: a power loss (the default), or only the end of the process.
        backend: The async library.
        debug: Print a traceback with every error.
    """

    store: str | None = None
    format: Literal["text", "json", "jsonl"] | None = None
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False
    verbose: bool = False
    no_progress: bool = False
    durability: Literal["power-loss", "process-crash"] | None = None
    backend: Literal["asyncio", "trio"] | None = None
    debug: bool = False


OPTIONS = tuple(fields_of(Options))
"""The options of every command, as they are parsed."""


class CommandLine(NamedTuple):
    """A command line, in parts.

    Attributes:
        name: the command, or its group if only that is given; empty if neither is given.
        unknown: the word in the position of a command, if there is no such command.
        rest: the other words.
    """

    name: str
    unknown: str | None
    rest: list[str]


def split(words: Sequence[str]) -> CommandLine:
    """Find the command on a command line: the first word, or two, that is neither an option nor its value."""
    name, rest = "", list(words)
    for place, word in positional(words, options_by_name(OPTIONS)):
        longer = f"{name} {word}".lstrip()
        del rest[place - len(words)]  # counted from the end: an earlier word may have been removed
        if longer in COMMANDS:
            return CommandLine(longer, None, rest)
        if name or word not in GROUPS:
            return CommandLine(name, word, rest)
        name = word
    return CommandLine(name, None, rest)


def function_of(name: str) -> Callable[..., Any]:
    """Load the function of a command."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    function: Callable[..., Any] = getattr(import_module(f"steelyard.cli.{module}"), attribute)
    return function
