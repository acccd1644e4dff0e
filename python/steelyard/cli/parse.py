"""Parsing the words of a command line into the values of a command's arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from steelyard.cli.parameters import Argument

__all__ = ("NotUnderstood", "options_by_name", "parse", "positional", "similar")


class NotUnderstood(Exception):
    """The command line is wrong. The message says why."""


def options_by_name(arguments: Iterable[Argument]) -> dict[str, Argument]:
    """Return the options, by each of their names."""
    return {name: one for one in arguments if not one.positional for name in one.names}


def positional(words: Iterable[str], options: Mapping[str, Argument]) -> Iterator[tuple[int, str]]:
    """Yield the words that are neither options nor their values, each with its place."""
    is_value = False
    for place, word in enumerate(words):
        if is_value or (word.startswith("-") and word != "-"):
            is_value = not is_value and word in options and not options[word].is_flag
        else:
            yield place, word


def parse(words: Sequence[str], arguments: Sequence[Argument], *, command: str) -> dict[str, Any]:
    """Return the given values by the names of their parameters; a repeatable argument has a list of them.

    Options and positional arguments may be mixed. ``--option=VALUE`` and ``-oVALUE`` are accepted, short flags may be
    joined, and ``--`` ends the options. A lone ``-`` is a positional argument.

    Raises:
        NotUnderstood: an unknown option, a missing, superfluous or malformed value.
    """
    options = options_by_name(arguments)
    values: dict[str, Any] = {}
    left: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            left += rest
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            _set_option(values, name, value if equals else None, rest, options)
        elif word.startswith("-") and word != "-":
            _set_short(values, word, rest, options)
        else:
            left.append(word)
    for one in arguments:
        if one.positional:
            taken = left if one.many else left[:1]
            left = left[len(taken) :]
            for word in taken:
                _set(values, one, one.names[0], word)
    if left:
        raise NotUnderstood(f"Unused Tokens: {left!r}.")
    missing = next((one for one in arguments if one.required and one.parameter not in values), None)
    if missing is not None:
        raise NotUnderstood(f'Command "{command}" parameter {missing.names[0]} requires an argument.')
    return values


def similar(word: str, known: Iterable[str]) -> str:
    """Return a question that suggests a similar word, or an empty text."""
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes only

    close = get_close_matches(word, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""


def _set_short(values: dict[str, Any], word: str, rest: Iterator[str], options: dict[str, Argument]) -> None:
    """Set the flags that are joined in a word, and the option with a value at its end."""
    for place, letter in enumerate(word[1:], 2):
        one = options.get(f"-{letter}")
        if one is None:
            raise NotUnderstood(f"Unknown option: {word}.")
        if not one.is_flag:
            _set_option(values, f"-{letter}", word[place:].removeprefix("=") or None, rest, options)
            return
        _set(values, one, f"-{letter}", None)


def _set_option(
    values: dict[str, Any], name: str, value: str | None, rest: Iterator[str], options: dict[str, Argument]
) -> None:
    one = options.get(name)
    if one is None:
        raise NotUnderstood(f"Unknown option: {name}.{similar(name, options)}")
    if one.is_flag:
        if value is not None:
            raise NotUnderstood(f"Invalid value for {name}: expected none, found {value!r}.")
    elif value is None:
        value = next(rest, None)
        if value is None or value == "--" or value.partition("=")[0] in options:
            raise NotUnderstood(f"Parameter {name} requires an argument.")
    _set(values, one, name, value)


def _set(values: dict[str, Any], one: Argument, name: str, word: str | None) -> None:
    value = True if word is None else _converted(one, name, word)
    if one.many:
        values.setdefault(one.parameter, []).append(value)
    elif one.parameter in values:
        raise NotUnderstood(f"Parameter {name} was specified multiple times.")
    else:
        values[one.parameter] = value


def _converted(one: Argument, name: str, word: str) -> Any:
    if one.choices and word not in one.choices:
        choices = ", ".join(f'"{choice}"' for choice in one.choices)
        raise NotUnderstood(f'Invalid value "{word}" for {name}. Choose from: {choices}.')
    try:
        return one.convert(word)
    except ValueError:
        kind = getattr(one.convert, "__name__", "")
        raise NotUnderstood(f'Invalid value for {name}: unable to convert "{word}" into {kind}.') from None
