"""The command line, ``steelyard``.

| Module | Holds |
| --- | --- |
| `commands`, `app` | the table of commands and the options that all of them share; the call of a command |
| `parameters`, `parse`, `help`, `completion` | the arguments of typed functions; parser, help and completion made from them |
| `run`, `loop`, `running` | one run: in place or in an event loop; its signals and its exit code |
| `context` | the argument of every command: options, the store, output, progress |
| `listing` | a local store for commands that only look at it, without an event loop |
| `settings` | the value of each option: from the command line, the environment, the config file or the default |
| `output`, `records` | text, JSON and JSON Lines; the documented shapes |
| `progress` | progress: a live line on a terminal, plain lines in a log |
| `exits`, `explain` | exit codes; an error's message and next step |
| `names` | digest prefixes, labels |
| `sources`, `stdio`, `streams` | walking trees; standard input and output; standard streams that were closed at the start |
| `put`, `get`, `look`, `edit`, `ingests`, `check`, `topics` | one group of commands each |

This module is all that ``--version`` loads: it imports neither the parser, nor the library, nor the extension.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from steelyard import __version__
from steelyard.cli import streams

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        arguments: the words after the program's name; by default those of this process.
    """
    streams.prepare()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(words)
    except SystemExit as end:  # raised by a wrong call of help, or by rich when its reader has closed the pipe
        left = isinstance(end.__context__, BrokenPipeError)
        code = 141 if left else end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:  # the event loop does not handle the signal yet: nothing was started
        code = 130
    except Exception as error:
        refusal = error if isinstance(error, OSError) else _too_many_files(error)
        if refusal is None:
            raise
        code = _refused(refusal)
    failure = streams.finish()
    return code if failure is None or code else _refused(failure)


def _run(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        print(f"steelyard {__version__}")
        return 0
    from steelyard.cli.app import launch  # noqa: PLC0415 - --version does without

    return launch(words)


def _too_many_files(error: BaseException | None) -> OSError | None:
    """Return the error about too many open files that caused an error. It may occur anywhere, even while an error is handled."""
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_too_many_files, error.exceptions)), None)
    return None if error is None else _too_many_files(error.__cause__ or error.__context__)


def _refused(error: OSError) -> int:
    """Report an error outside of any command, most likely of standard output, and return the exit code."""
    from steelyard.cli.exits import Exit, exit_of  # noqa: PLC0415 - the library's errors, which --version does without

    code = exit_of(error)
    if code is not Exit.BROKEN_PIPE:
        full = error.errno in {errno.EMFILE, errno.ENFILE}
        subject = os.fsdecode(error.filename) if error.filename is not None else "" if full else streams.OUTPUT
        streams.write_stderr(f"steelyard: error: {error.strerror or error}" + (f": {subject}" if subject else ""))
    return int(code)
