"""The table of commands, and the options of every command.

A command is loaded when it is called. `--help` needs only this table and the options, so it is fast.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import BoundArguments
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from cyclopts import App, CycloptsError, Parameter

from steelyard import __version__
from steelyard.cli.printing import printable
from steelyard.cli.streams import tell

__all__ = ("COMMANDS", "GROUPS", "Options", "build", "command_of", "find", "launch")

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

GROUPS: dict[str, str] = {
    "images": "List, name, check and convert images.",
    "serve": "Offer the store to other programs.",
}
"""The first word of commands of two words, and the summary of each group."""


def _as_typed(_: Any, tokens: Sequence[Any]) -> Any:
    """Return the word itself: `Path` would turn an empty word into `.`, and would drop slashes of an address.

    The option is still declared as a path, so that shells complete file names.
    """
    return tokens[0].value


@Parameter(name="*", group="Options of every command")
@dataclass(frozen=True)
class Options:
    """The options of every command, before or after its name."""

    store: Annotated[Path | None, Parameter(converter=_as_typed)] = None
    """The store's root, or containerd:///PATH/OF/SOCKET?namespace=NAME. Otherwise $STEELYARD_STORE, `store` in the config file, or the platform's data directory."""
    format: Literal["text", "json", "jsonl"] | None = None
    """The format of the output: readable text, one JSON document, or one JSON record per line."""
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"])] = False
    """Print digests or refs only, one per line; no notices, no progress."""
    verbose: bool = False
    """Print a line for each file or blob, where put -r, verify --all and long lists show a summary on a terminal."""
    no_progress: bool = False
    """Show no progress on standard error."""
    durability: Literal["power-loss", "process-crash"] | None = None
    """The failure that a finished write survives: a power loss (the default), or only the end of the process."""
    backend: Literal["asyncio", "trio"] | None = None
    """The async library."""
    debug: bool = False
    """Print a traceback with every error."""


STDIO_WORD = "\0stdio"
"""Replaces a lone ``-``, which the parser would treat as an option. A real argument cannot contain NUL."""


def launch(words: Sequence[str]) -> int:
    """Parse a command line, run its command and return the exit code."""
    parsed: list[_Parsed] = []
    app = build(words, parsed.append)
    if words[:1] == ["__complete"]:
        app(list(words), result_action="return_value")
        return 0
    try:
        app.meta(_hide_lone_dashes(words), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        told = str(error).replace(STDIO_WORD, "-").replace(repr(STDIO_WORD)[1:-1], "-")
        return _refuse(told, words)
    if not parsed:
        return 0  # help was printed
    found = parsed[0]
    if not found.wants_context:
        found.command(*found.bound.args, **found.bound.kwargs)
        return 0
    return _run(found, words)


@dataclass(frozen=True)
class _Parsed:
    """A parsed command line."""

    command: Any
    bound: BoundArguments
    options: Options
    wants_context: bool


def build(words: Sequence[str] = (), found: Callable[[_Parsed], None] = lambda _: None) -> App:
    """Return the application.

    Args:
        words: the command line. If it has a command, the help is that command's docstring. Otherwise the help consists of
            the summaries in `COMMANDS`, so that the list of commands loads no command.
        found: called with the parsed command line.
    """
    app = App(
        name="steelyard",
        help="A durable, resumable, verified content store: blobs named by the digest of their bytes.",
        help_epilogue="Exit codes: steelyard help exit-codes. Documentation of every command: docs/cli.md.",
        help_format="plaintext",
        default_parameter=Parameter(negative="", show_default=False),
        version_flags=["--version"],
        version=f"steelyard {__version__}",
    )
    chosen = command_of(words)
    for name, (target, summary) in COMMANDS.items():
        group, _, own = name.rpartition(" ")
        if group and group not in app:
            app.command(App(name=group, help=GROUPS[group], help_format="plaintext", version_flags=[]))
        parent = app[group] if group else app
        parent.command(f"steelyard.cli.{target}", name=own, help=None if chosen else summary)
    if chosen:
        found_app = find(app, chosen)
        function = found_app.default_command
        found_app.help = _help_of(function)
        found_app.usage = f"Usage: steelyard {chosen} [OPTIONS]{_operands_of(function)}" if function else None

    def collect(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        options: Options = Options(),
    ) -> None:
        command, bound, extra = app.parse_args(tokens, exit_on_error=False, print_error=False)
        found(_Parsed(command=command, bound=bound, options=options, wants_context="context" in extra))

    app.meta.default(collect)
    return app


def command_of(words: Sequence[str]) -> str | None:
    """Return the name of the command on a command line: its first word, or two words, that are a command."""
    for place, word in enumerate(words):
        if word in GROUPS:
            pairs = (f"{word} {other}" for other in words[place + 1 :])
            return next((pair for pair in pairs if pair in COMMANDS), None)
        if word in COMMANDS:
            return word
    return None


def find(app: App, name: str) -> App:
    """Return the application of a command."""
    for word in name.split():
        app = app[word]
    return app


def _help_of(function: Callable[..., Any] | None) -> str:
    """Return a docstring without its list of arguments, each paragraph in one line, for the terminal to wrap."""
    text = (inspect.getdoc(function) or "").partition("\nArgs:\n")[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))


def _operands_of(function: Callable[..., Any]) -> str:
    """Return the arguments of a command beside options, by their names in the help."""
    words = ""
    for one in inspect.signature(function, eval_str=True).parameters.values():
        if one.kind is one.KEYWORD_ONLY or get_origin(one.annotation) is not Annotated:
            continue
        found = next(part for part in one.annotation.__metadata__ if isinstance(part, Parameter))
        many = one.kind is one.VAR_POSITIONAL
        required = found.required if many else one.default is one.empty
        word = next(iter(found.name or ())) + ("..." if many else "")
        words += f" {word}" if required else f" [{word}]"
    return words


def _run(found: _Parsed, words: Sequence[str]) -> int:
    from steelyard.cli.context import Context  # noqa: PLC0415 - anyio and the library, which help does not need
    from steelyard.cli.run import run  # noqa: PLC0415
    from steelyard.errors import InvalidArgument  # noqa: PLC0415

    try:
        name = _name_of(found.command)
        context = Context(found.options, words, name)
    except InvalidArgument as error:
        return _refuse(str(error), ())
    _show_lone_dashes(found.bound)

    async def call(context: Context) -> None:
        await found.command(*found.bound.args, **found.bound.kwargs, context=context)

    return run(call, context, name)


def _name_of(function: Callable[..., Any]) -> str:
    """Return the command of a function."""
    target = f"{function.__module__.removeprefix('steelyard.cli.')}:{function.__name__}"
    return next(name for name, (known, _) in COMMANDS.items() if known == target)


def _refuse(message: str, words: Sequence[str]) -> int:
    command = command_of(words) or next((word for word in words if word in GROUPS), "")
    shown = printable(message.replace(STDIO_WORD, "-"))
    tell(f"steelyard: error: {shown}", f"  next: steelyard {command}{' ' if command else ''}--help")
    return 2


def _hide_lone_dashes(words: Sequence[str]) -> list[str]:
    return [STDIO_WORD if word == "-" else word for word in words]


def _show_lone_dashes(bound: BoundArguments) -> None:
    """Restore the dashes after the parser."""
    for name, value in bound.arguments.items():
        if value == STDIO_WORD:
            bound.arguments[name] = "-"
        elif isinstance(value, list | tuple):
            bound.arguments[name] = type(value)("-" if word == STDIO_WORD else word for word in value)
