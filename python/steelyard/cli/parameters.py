"""The arguments of a command, from the signature and docstring of its function, for the parser, the help and the completion."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

__all__ = ("Argument", "Completer", "Parameter", "arguments_of", "fields_of", "paragraphs_of")

Completer = Callable[[str, str | None], Iterable[tuple[str, str]]]
"""Called with the typed prefix and the value of --store; returns values, each with a description."""


class Parameter:
    """The form of a command's parameter on the command line. Used in `Annotated`.

    Args:
        name: the name of a positional argument in the help, or the option with its short form.
        required: whether at least one value is required; otherwise the default of the parameter decides.
        completer: offers values in a shell.
        parse: whether it appears on the command line at all.
    """

    def __init__(
        self,
        *,
        name: str | Sequence[str] = (),
        required: bool = False,
        completer: Completer | None = None,
        parse: bool = True,
    ) -> None:
        self.names: tuple[str, ...] = (name,) if isinstance(name, str) else tuple(name)
        self.required = required
        self.completer = completer
        self.parse = parse


class Argument(NamedTuple):
    """One argument on the command line.

    Attributes:
        parameter: the name of the function's parameter.
        names: the option and its short form, or the name of a positional argument.
        positional: whether it is not an option.
        many: whether it may be repeated.
        required: whether a value is required.
        convert: returns the value of a word; `bool` marks an option without a value.
        choices: the words that are accepted; empty for any word.
        help: its description.
        completer: offers values in a shell.
    """

    parameter: str
    names: tuple[str, ...]
    positional: bool
    many: bool
    required: bool
    convert: Callable[[str], Any]
    choices: tuple[str, ...]
    help: str
    completer: Completer | None

    @property
    def is_flag(self) -> bool:
        """Whether the option has no value."""
        return self.convert is bool

    @property
    def word(self) -> str:
        """The placeholder of the value in the help."""
        return (
            "|".join(self.choices) or self.names[0].rpartition("-")[2].upper() if not self.positional else self.names[0]
        )


def arguments_of(function: Callable[..., Any]) -> list[Argument]:
    """Return the arguments of a command, without the options of every command."""
    import inspect  # noqa: PLC0415 - the list of commands does not need it

    hints = typing.get_type_hints(function, include_extras=True)
    helps = _entries(function.__doc__, "Args:")
    found = []
    for name, one in inspect.signature(function).parameters.items():
        argument = _argument(
            name,
            hints[name],
            helps.get(name, ""),
            positional=one.kind is not one.KEYWORD_ONLY,
            many=one.kind is one.VAR_POSITIONAL,
            required=one.default is one.empty and one.kind is not one.VAR_POSITIONAL,
        )
        if argument is not None:
            found.append(argument)
    return found


def fields_of(kind: type) -> list[Argument]:
    """Return the options that are the fields of a class; all have defaults."""
    helps = _entries(kind.__doc__, "Attributes:")
    hints = typing.get_type_hints(kind, include_extras=True)
    return [
        argument
        for name, hint in hints.items()
        if (argument := _argument(name, hint, helps.get(name, ""), positional=False, many=False, required=False))
    ]


def paragraphs_of(function: Callable[..., Any]) -> list[str]:
    """Return the paragraphs of a docstring in front of its list of arguments, each in one line."""
    text = "\n".join(_lines(function.__doc__)).partition("\nArgs:\n")[0]
    return [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]


def _argument(name: str, hint: Any, help_: str, *, positional: bool, many: bool, required: bool) -> Argument | None:
    stated = Parameter()
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        stated = next((extra for extra in extras if isinstance(extra, Parameter)), stated)
    if not stated.parse:
        return None
    kind, repeated = _kind_of(hint)
    choices: tuple[str, ...] = ()
    if get_origin(kind) is Literal:
        choices, kind = get_args(kind), str
    elif issubclass(kind, Enum):
        choices = tuple(str(member.value) for member in kind)
    default = name.upper() if positional else "--" + name.strip("_").replace("_", "-")
    return Argument(
        parameter=name,
        names=stated.names or (default,),
        positional=positional,
        many=many or repeated,
        required=required or stated.required,
        convert=kind,
        choices=choices,
        help=help_,
        completer=stated.completer,
    )


def _kind_of(hint: Any) -> tuple[Any, bool]:
    """Return the type of one value, and whether there may be several."""
    if get_origin(hint) in {UnionType, typing.Union}:
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is list:
        return get_args(hint)[0], True
    return hint, False


def _lines(doc: str | None) -> list[str]:
    """Return the lines of a docstring without their common indentation."""
    first, *rest = (doc or "").expandtabs().splitlines() or [""]
    indents = [len(line) - len(line.lstrip()) for line in rest if line.strip()]
    return [first.strip(), *(line[min(indents, default=0) :].rstrip() for line in rest)]


def _entries(doc: str | None, section: str) -> dict[str, str]:
    """Return the entries of a section of a docstring, each in one line."""
    entries: dict[str, str] = {}
    lines = _lines(doc)
    name = ""
    for line in lines[lines.index(section) + 1 :] if section in lines else ():
        text = line.strip()
        if line and not line.startswith(" "):
            break
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = text.partition(": ")
        if text:
            entries[name] = f"{entries.get(name, '')} {text}".strip()
    return entries
