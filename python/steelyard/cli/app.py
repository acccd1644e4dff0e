"""Parsing a command line, and calling the command or printing its help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from steelyard import __version__
from steelyard.cli.commands import COMMANDS, GROUPS, LOOKS, OPTIONS, CommandLine, Options, function_of, split
from steelyard.cli.parameters import arguments_of, paragraphs_of
from steelyard.cli.parse import NotUnderstood, parse, similar
from steelyard.cli.streams import write_stderr

__all__ = ("launch",)

_ABOUT = "A durable, resumable, verified content store: blobs named by the digest of their bytes."


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


def _run(line: CommandLine, words: Sequence[str]) -> int:
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

    write_stderr(
        f"steelyard: error: {printable(message)}", f"  next: steelyard {command}{' ' if command else ''}--help"
    )
    return 2
