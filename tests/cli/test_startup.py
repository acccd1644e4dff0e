"""What a start costs: `--version` and completion load neither the terminal library nor the extension."""

from __future__ import annotations

import subprocess
import sys

from steelyard.cli.app import COMMANDS

from .runner import Shell


def loaded(shell: Shell, *words: str) -> set[str]:
    """Return the modules that are loaded at the end of a command line."""
    program = (
        "import sys, contextlib, io\n"
        "import steelyard\n"
        "if sys.argv[1:]:\n"
        "    from steelyard.cli import main\n"
        "    with contextlib.redirect_stdout(io.StringIO()): main(sys.argv[1:])\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=shell.environment, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_version_loads_nothing_beyond_the_package(shell: Shell) -> None:
    new = loaded(shell, "--version") - loaded(shell)

    assert {"steelyard.cli", "steelyard.cli.streams"} == {
        name for name in new if name.startswith(("steelyard", "cyclopts", "rich"))
    }


def test_a_tab_does_not_load_the_terminal_library(shell: Shell) -> None:
    modules = loaded(shell, "__complete", "ls", "--f")

    assert set() == {name for name in modules if name.startswith("rich.")}


def test_help_loads_no_command(shell: Shell) -> None:
    modules = loaded(shell, "--help")

    targets = {f"steelyard.cli.{target.partition(':')[0]}" for target, _ in COMMANDS.values()}
    assert set() == targets & modules
