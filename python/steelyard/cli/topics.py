"""`help` and `completion`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from steelyard.cli.app import launch
from steelyard.cli.commands import COMMANDS, GROUPS
from steelyard.cli.parameters import Parameter
from steelyard.cli.streams import write_stderr

FILTERS = """\
A filter is one text of selectors joined by commas; all of them must hold. Several filters are alternatives.

  labels.kind                        the label `kind` exists
  labels.kind==layer                 its value is `layer`
  labels.kind!=layer                 it is absent or has another value
  labels."io.example/from"=="a b"    quote characters other than letters, digits and _
  digest~=^sha256:ab                 a regular expression matches a part of the field
  size>=1MiB                         also < <= > == !=, and bytes without a unit
  created_at<2026-01-01T00:00:00Z    RFC 3339

Blobs have digest, size, created_at, updated_at and labels.KEY.
Ingests have ref, offset, total, expected, started_at and updated_at.
Image names have name, digest, media_type, size, created_at, updated_at and labels.KEY.

  steelyard ls 'labels.kind==layer,size>1MiB'
  steelyard label --filter 'labels.kind==layer' tier=cold
  steelyard rm --filter 'labels.tier==cold' --dry-run
  steelyard ingests 'ref~=^put:'
"""

CONFIG = """\
The first of these that sets an option takes precedence:

  option         --store DIR    --format F          --backend B          --durability D
  environment    STEELYARD_STORE STEELYARD_FORMAT   STEELYARD_BACKEND    STEELYARD_DURABILITY
  config file    store = "DIR"  format = "F"        backend = "B"        durability = "D"
  default        the platform's data directory, text, asyncio, power-loss

The config file is $XDG_CONFIG_HOME/steelyard/config.toml; a relative `store` in it starts from its folder.
For a store in a bucket, STEELYARD_CACHE is a directory that keeps the blobs that were read, up to STEELYARD_CACHE_BYTES (10GiB).
`steelyard doctor` shows the value and the origin of each option.
Progress and colour: NO_COLOR, TERM=dumb, CI and --no-progress are respected.
"""


def help_(*words: Annotated[str, Parameter(name="TOPIC")]) -> None:
    """Show help on a command or a topic.

    Args:
        words: a command, or exit-codes, filters, config.
    """
    topic = " ".join(words)
    if not topic or topic in COMMANDS or topic in GROUPS:
        launch([*topic.split(), "--help"] if topic else ["--help"])
        return
    texts: dict[str, Callable[[], str]] = {
        "exit-codes": _exit_codes,
        "filters": lambda: FILTERS,
        "config": lambda: CONFIG,
    }
    if topic not in texts:
        known = ", ".join([*texts, *COMMANDS])
        write_stderr(f"steelyard: error: help {topic!r}: expected one of {known}", "  next: steelyard --help")
        sys.exit(2)
    print(texts[topic](), end="")


def _exit_codes() -> str:
    from steelyard.cli.exits import MEANINGS  # noqa: PLC0415 - the library, which completion does not need

    return "".join(f"{code:>3}  {meaning}\n" for code, meaning in MEANINGS.items())


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish", "powershell"], Parameter(name="SHELL")],
    /,
    *,
    install: bool = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
) -> None:
    """Print or install shell completion.

    Args:
        shell: the shell to complete in.
        install: install the script, and load it in the shell's start-up file.
        output: the file for the script.
    """
    from steelyard.cli import completion as shells  # noqa: PLC0415 - help does not need it

    if install:
        print(shells.install(shell, output))
    elif output is not None:
        output.write_text(shells.SCRIPTS[shell], "utf-8")
    else:
        print(shells.SCRIPTS[shell], end="")
