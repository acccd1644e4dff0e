"""The pages of ``--help``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from steelyard.cli.parameters import Argument

__all__ = ("page", "rows_of", "usage_of")

_NAMES = 24
"""The widest column of names; the text of a longer name starts on the next line."""


_END = "Exit codes: steelyard help exit-codes. Documentation of every command: docs/cli.md."


def page(usage: str, paragraphs: Iterable[str], lists: Iterable[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Return a page of help.

    Args:
        usage: the usage line of the command.
        paragraphs: the description.
        lists: titles, each with its names and their meanings.
    """
    width = _width()
    blocks = [f"Usage: {usage}", *("\n".join(_wrapped(paragraph, width)) for paragraph in paragraphs)]
    blocks += ["\n".join([f"{title}:", *_rows(rows, width)]) for title, rows in lists if rows]
    blocks.append("\n".join(_wrapped(_END, width)))
    return "\n\n".join(blocks) + "\n"


def usage_of(arguments: Iterable[Argument]) -> str:
    """Return the positional arguments, as the usage line has them."""
    words = ""
    for one in arguments:
        if one.positional:
            word = one.names[0] + ("..." if one.many else "")
            words += f" {word}" if one.required else f" [{word}]"
    return words


def rows_of(arguments: Iterable[Argument], *, positional: bool) -> list[tuple[str, str]]:
    """Return the names of the arguments and their meanings."""
    rows = []
    for one in arguments:
        if one.positional == positional:
            value = "" if positional or one.is_flag else f" {one.word}"
            required = " Required." if one.required and not positional else ""
            rows.append((", ".join(one.names) + value, one.help + required))
    return rows


def _rows(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    column = min(max(len(name) for name, _ in rows), _NAMES)
    lines = []
    for name, text in rows:
        wrapped = _wrapped(text, max(width - column - 4, 20))
        if len(name) > column:
            lines.append(f"  {name}")
        else:
            lines.append(f"  {name:<{column}}  {wrapped.pop(0)}".rstrip())
        lines += [" " * (column + 4) + line for line in wrapped]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Return text in lines that end between words. `textwrap` is not used, because it is slow to import."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and len(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _width() -> int:
    """Return the width of the terminal, at most 100. `shutil` is not used, because it is slow to import."""
    try:
        columns = int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        try:
            columns = os.get_terminal_size(1).columns or 80
        except OSError:
            columns = 80
    return min(columns, 100)
