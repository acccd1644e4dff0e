"""Escaping of untrusted text (names, paths, labels, messages) for a terminal or JSON.

Characters that could move the cursor, break a line or change the direction of writing are always escaped: C0 and C1
controls, line separators, bidirectional controls and all other characters that are not printable in Unicode.
"""

from __future__ import annotations

import os
import re
import shlex

__all__ = ("escaped_json", "path_hex", "path_shown", "path_text", "printable", "quoted", "shown")

_BYTES = range(0xDC80, 0xDD00)
"""Python's representation of bytes of a path, 0x80 to 0xff, that are not UTF-8."""

_NOT_ASCII = re.compile(r"[^\x20-\x7e]")


def printable(text: str) -> str:
    r"""Return text with unprintable characters escaped: ``\n``, ``\x1b``, ``\u202e``; a byte becomes ``\xff``."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def shown(name: str) -> str:
    r"""Return a name for results: as `printable`, and a backslash becomes ``\\``, so that different names look different."""
    return printable(name.replace("\\", "\\\\"))


def path_text(path: str | bytes | os.PathLike[str]) -> str:
    r"""Return a path as text for JSON: bytes that are not UTF-8 become ``\xff``; see `path_hex`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def path_hex(path: str | bytes | os.PathLike[str]) -> str | None:
    """Return the bytes of a path whose `path_text` is not exact, in hex; None for a path that is UTF-8."""
    octets = os.fsencode(path)
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.hex()
    return None


def path_shown(path: str | bytes | os.PathLike[str]) -> str:
    """Return a path for results; see `shown`."""
    return shown(os.fsencode(path).decode("utf-8", "surrogateescape"))


def quoted(text: str) -> str:
    """Return a word quoted for a shell, control characters included."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + printable(text.replace("\\", "\\\\").replace("'", "\\'")) + "'"


def escaped_json(data: bytes) -> bytes:
    r"""Return equivalent JSON with unprintable characters escaped, for example ``\u202e``."""
    if data.isascii() and b"\x7f" not in data:
        return data
    return _NOT_ASCII.sub(_in_json, data.decode()).encode()


def _in_json(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))


def _escape(character: str) -> str:
    number = ord(character)
    if number in _BYTES:
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return character.encode("unicode_escape").decode("ascii")
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
