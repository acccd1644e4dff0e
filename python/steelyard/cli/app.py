"""The table of commands, the options of every command, and the way from a command line to the call of a command.

A command is loaded when it is called. The list of commands in `--help` needs only this table, so it is fast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple

from steelyard import __version__
from steelyard.cli.parameters import Parameter, arguments_of, fields_of, paragraphs_of
from steelyard.cli.parse import NotUnderstood, options_by_name, parse, similar
from steelyard.cli.streams import tell

__all__ = ("COMMANDS", "GROUPS", "OPTIONS", "Options", "function_of", "launch", "split")

COMMANDS: dict[str, tuple[str, str]] = {
    "put": ("put:put", "Store files, directory trees or standard input, and print their digests."),
    "get": ("get:get", "Write a blob to a file or to standard output."),
    "ls": ("look:ls", "List blobs."),
    "info": ("look:info", "Show size, times and labels of blobs."),
    "label": ("edit:label", "Set and remove labels of a blob."),
    "rm": ("edit:rm", "Delete blobs."),
    "ingests": ("ingests:ingests", "List unfinished ingests."),
    "abort": ("ingests:abort", "Discard unfinished ingests."),
    "verify": ("check:verify", "Read blobs again and compare them with their digests."),
    "stat": ("look:stat", "Count the blobs, ingests and quarantined copies of the store, and their bytes."),
    "doctor": ("doctor:doctor", "Show versions, settings and the store's health; rebuild its metadata."),
    "import": ("importing:import_", "Import images from an archive, standard input, an image layout or another store."),
    "export": ("export:export", "Export images to an archive, standard output, an image layout or another store."),
    "cp": ("copying:cp", "Copy blobs from one store to another."),
    "images ls": ("images:ls", "List image names."),
    "images inspect": ("images:inspect", "Show the blobs of an image."),
    "images tag": ("images:tag", "Add names to an image."),
    "images rm": ("images:rm", "Remove image names; the blobs stay stored."),
    "images check": ("images_check:check", "Check whether images are complete, and list absent blobs."),
    "images usage": ("images_check:usage", "Count the blobs of images and their bytes."),
    "images convert": ("images_check:convert", "Convert an image to OCI's media types, or to some of its platforms."),
    "serve containerd": (
        "serve:containerd",
        "Serve the store to containerd, as its content store, on a Unix socket.",
    ),
    "help": ("topics:help_", "Show help on a command or a topic."),
    "completion": ("topics:completion", "Print or install shell completion."),
}
"""The function of each command, below this package, and its summary: the first line of the function's docstring."""

LOOKS = frozenset({"ls", "info", "ingests", "stat", "images ls"})
"""The commands that only look at a store. With a store on this machine's disk they run without an event loop."""

GROUPS: dict[str, str] = {
    "images": "List, name, check and convert images.",
    "serve": "Offer the store to other programs.",
}
"""The first word of commands of two words, and the summary of each group."""


class Options(NamedTuple):
    """The options of every command, before or after its name.

    Attributes:
        store: The store's root, or containerd:///PATH/OF/SOCKET?namespace=NAME. Otherwise $STEELYARD_STORE, `store` in the
            config file, or the platform's data directory.
        format: The format of the output: readable text, one JSON document, or one JSON record per line.
        quiet: Print digests or refs only, one per line; no notices, no progress.
        verbose: Print a line for each file or blob, where put -r, verify --all and long lists show a summary on a terminal.
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

_ABOUT = "A durable, resumable, verified content store: blobs named by the digest of their bytes."


class _Line(NamedTuple):
    """A command line, in parts.

    Attributes:
        name: the command, or its group if there is no more; empty without either.
        unknown: the word in the place of a command, if there is no such command.
        rest: the other words.
    """

    name: str
    unknown: str | None
    rest: list[str]


def split(words: Sequence[str]) -> _Line:
    """Find the command on a command line: the first word, or two, that is neither an option nor its value."""
    options = options_by_name(OPTIONS)
    name, rest, is_value = "", [], False
    for place, word in enumerate(words):
        if is_value or (word.startswith("-") and word != "-"):
            rest.append(word)
            is_value = not is_value and word in options and not options[word].is_flag
            continue
        longer = f"{name} {word}".lstrip()
        after = [*rest, *words[place + 1 :]]
        if longer in COMMANDS:
            return _Line(longer, None, after)
        if name or word not in GROUPS:
            return _Line(name, word, after)
        name = word
    return _Line(name, None, rest)


def launch(words: Sequence[str]) -> int:
    """Parse a command line, run its command and return the exit code."""
    if words[:1] == ["__complete"]:
        from steelyard.cli.completion import offer  # noqa: PLC0415 - only completion needs it

        return offer(words[1:])
    line = split(words)
    before = words[: words.index("--")] if "--" in words else words
    try:
        if line.unknown is not None:
            return _refuse(_unknown(line.name, line.unknown), line.name)
        if "--help" in before or "-h" in before:
            return _show_help(line.name)
        if line.name in COMMANDS:
            return _run(line, words)
        if "--version" in before and not line.name:
            print(f"steelyard {__version__}")
            return 0
        parse(line.rest, OPTIONS, command=line.name)
        return _show_help(line.name)
    except NotUnderstood as error:
        return _refuse(str(error), line.name)


def _unknown(group: str, word: str) -> str:
    names = [name for name in COMMANDS if not group or name.startswith(f"{group} ")]
    known = dict.fromkeys(name.removeprefix(f"{group} ").split()[0] for name in names)
    return f'Unknown command "{word}".{similar(word, known)} Available commands: {", ".join(known)}.'


def function_of(name: str) -> Callable[..., Any]:
    """Load the function of a command."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    function: Callable[..., Any] = getattr(import_module(f"steelyard.cli.{module}"), attribute)
    return function


def _show_help(name: str) -> int:
    """Print the help on a command, on a group, or on the program if the name is empty."""
    from steelyard.cli.help import page, rows_of, usage_of  # noqa: PLC0415 - only for this

    own: list[tuple[str, list[tuple[str, str]]]]
    if name in COMMANDS:
        function = function_of(name)
        arguments = arguments_of(function)
        usage = f"steelyard {name} [OPTIONS]{usage_of(arguments)}"
        paragraphs = paragraphs_of(function)
        own = [("Arguments", rows_of(arguments, positional=True)), ("Options", rows_of(arguments, positional=False))]
    else:
        usage = f"steelyard {name} COMMAND [OPTIONS]".replace("  ", " ")
        paragraphs = [GROUPS.get(name, _ABOUT)]
        summaries = {command: text for command, (_, text) in COMMANDS.items() if " " not in command} | GROUPS
        if name:
            summaries = {
                one.removeprefix(f"{name} "): text for one, (_, text) in COMMANDS.items() if one.startswith(f"{name} ")
            }
        own = [("Commands", sorted(summaries.items()))]
    common = [*rows_of(OPTIONS, positional=False), ("--help, -h", "Show this help.")]
    if not name:
        common.append(("--version", "Show the version."))
    print(page(usage, paragraphs, [*own, ("Options of every command", common)]), end="")
    return 0


def _run(line: _Line, words: Sequence[str]) -> int:
    function = function_of(line.name)
    arguments = arguments_of(function)
    values = parse(line.rest, [*arguments, *OPTIONS], command=line.name)
    options = Options(**{one.parameter: values.pop(one.parameter) for one in OPTIONS if one.parameter in values})
    positional: list[Any] = []
    for one in arguments:
        if one.positional and one.parameter in values:
            value = values.pop(one.parameter)
            positional += value if one.many else [value]
    if "context" not in function.__annotations__:
        function(*positional, **values)
        return 0
    from steelyard.cli.context import Context  # noqa: PLC0415 - the library, which help does not need
    from steelyard.cli.run import run  # noqa: PLC0415
    from steelyard.errors import InvalidArgument  # noqa: PLC0415

    try:
        may_wait = line.name not in LOOKS or bool(values.get("watch"))
        context = Context(options, words, line.name, may_wait=may_wait)
    except InvalidArgument as error:
        return _refuse(str(error), "")

    async def call(context: Context) -> None:
        await function(*positional, **values, context=context)

    return run(call, context, line.name)


def _refuse(message: str, command: str) -> int:
    from steelyard.cli.printing import printable  # noqa: PLC0415 - for mistakes only

    tell(f"steelyard: error: {printable(message)}", f"  next: steelyard {command}{' ' if command else ''}--help")
    return 2
