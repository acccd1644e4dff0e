"""`help` and `completion`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from steelyard.cli.app import COMMANDS, GROUPS, build, launch
from steelyard.cli.streams import tell

FILTERS = """\
A filter is one text of comparisons joined by commas, all of which must hold. Several filters are alternatives.

  labels.kind                        there is a label `kind`
  labels.kind==layer                 it is `layer`
  labels.kind!=layer                 there is none, or it is something else
  labels."io.example/from"=="a b"    quote what has other characters than letters, digits and _
  digest~=^sha256:ab                 a regular expression is found in it
  size>=1MiB                         also < <= > == !=, and bytes without a unit
  created_at<2026-01-01T00:00:00Z    RFC 3339

Blobs have digest, size, created_at, updated_at and labels.KEY.
Ingests have ref, offset, total, expected, started_at and updated_at.

  steelyard ls 'labels.kind==layer,size>1MiB'
  steelyard ingests 'ref~=^put:'
"""

CONFIG = """\
An option is taken from the first of these that has it:

  flag           --store DIR    --format F          --backend B          --durability D
  environment    STEELYARD_STORE STEELYARD_FORMAT   STEELYARD_BACKEND    STEELYARD_DURABILITY
  config file    store = "DIR"  format = "F"        backend = "B"        durability = "D"
  default        the platform's data directory, text, asyncio, power-loss

The config file is $XDG_CONFIG_HOME/steelyard/config.toml; a relative `store` in it starts from its folder.
`steelyard doctor` shows what holds, and where each value comes from.
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
        tell(f"steelyard: error: help {topic!r}: expected one of {known}", "  next: steelyard --help")
        sys.exit(2)
    print(texts[topic](), end="")


def _exit_codes() -> str:
    from steelyard.cli.exits import MEANINGS  # noqa: PLC0415 - the library, which completion does without

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
        install: write the script where the shell looks for it, and make the shell's start-up file load it.
        output: with --install, another file to write it to.
    """
    app = build()
    if install:
        script = app.install_completion(shell=shell, output=output, add_to_startup=shell != "zsh")
        if shell == "zsh":
            _load_in_zsh(script)
        print(script)
    elif output is not None:
        output.write_text(app.generate_completion(shell=shell), "utf-8")
    else:
        print(app.generate_completion(shell=shell), end="")


def _load_in_zsh(script: Path) -> None:
    """Have zsh load the script at its start, after what is in its start-up file already.

    A new user's file starts no completion at all, and one that does may have done it by then: both are right.
    """
    start = Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc"
    text = start.read_text("utf-8") if start.exists() else ""
    word = shlex.quote(str(script))
    lines = (
        "# steelyard completion",
        "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }",
        f"[[ -f {word} ]] && source {word} && compdef _cyclopts_steelyard steelyard",
    )
    if lines[-1] not in text:
        gap = "" if text.endswith("\n") or not text else "\n"
        start.write_text(text + gap + "\n".join(lines) + "\n", "utf-8")
