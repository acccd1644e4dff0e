"""The command line, ``steelyard``.

| Module | Holds |
| --- | --- |
| `app` | the table of commands, the options that all of them share |
| `run` | one run: event loop, signals, exit code |
| `context` | what a command is given: options, the store, output, progress |
| `settings` | flag, environment, config file, default: where each option comes from |
| `output`, `records` | text, JSON and JSON Lines; the documented shapes |
| `progress` | the line on a terminal, the plain line elsewhere |
| `exits`, `explain` | exit codes; an error's message and next step |
| `names` | digest prefixes, labels |
| `sources`, `stdio` | walking trees; standard input and output |
| `put`, `get`, `look`, `edit`, `ingests`, `check`, `bench`, `topics` | one group of commands each |

This module is all that ``--version`` loads: it imports neither the argument parser, nor rich, nor the extension.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

__all__ = ("main",)

INSTALL_LINE = "pip install 'steelyard[cli]'"
"""What installs the packages that the command line needs beside the library."""

_NEEDED = frozenset({"cyclopts", "platformdirs", "rich"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: the words after the program's name; by default those of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--version"]:
        print(f"steelyard {version()}")
        return 0
    try:
        from steelyard.cli.app import launch  # noqa: PLC0415 - the extra may be missing, and --version must be quick

        return launch(words)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        print(f"steelyard: error: the command line needs the package {error.name}", file=sys.stderr)
        print(f"  next: {INSTALL_LINE}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the event loop has taken the signal over: nothing was begun
        return 130


def version() -> str:
    """Return the version of the installed distribution.

    The name of its metadata directory says it. importlib.metadata would too, but takes three times as long to load as
    everything else that ``--version`` does.
    """
    for folder in sys.path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name.startswith("steelyard-") and entry.name.endswith(".dist-info"):
                    return entry.name.removeprefix("steelyard-").removesuffix(".dist-info")
    return "0+source"  # a source tree that was never installed
