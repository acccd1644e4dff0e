"""The cost of a start: the modules that the library and each command load. They are listed, because times depend on the machine.

`benches/README.md` says how to measure the times. A module that is added here makes every start slower.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from steelyard.cli.commands import COMMANDS, LOOKS

from .runner import Shell

LIBRARY = """
_lazy _native _runtime _runtime.backend _runtime.fork _runtime.opening base content content._batch_manager content._collector local local._defaults local.store
"""
VERSION = "_lazy cli cli.streams"
HELP = f"{VERSION} cli.app cli.commands cli.help cli.parameters cli.parse"
LOOK = f"""
{VERSION} cli.app cli.commands cli.parameters cli.parse
_digest_errors digest errors errors._images errors._remote errors._store filters model names options
_native _runtime _runtime.backend _runtime.buffers _runtime.fork local local._defaults
local.blocking local.blocking._blob local.blocking._ingest local.blocking._interruptible local.blocking._names
local.blocking._rows local.blocking._store
_places cli.addresses cli.complete cli.context cli.exits cli.explain cli.listing cli.meter cli.names cli.output cli.printing
cli.progress cli.records cli.run cli.running cli.settings cli.stdio
"""
BASIS = "import importlib, re, typing"
"""Modules of the standard library that a command loads before it needs a value."""

VALUES = "import anyio, msgspec, datetime, importlib, pathlib, re"
"""Modules that the values of the library need."""


def loaded(shell: Shell, program: str, *words: str) -> set[str]:
    """Return the modules that are loaded at the end of a program."""
    program += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=shell.environment, capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


def loaded_by(shell: Shell, *words: str) -> set[str]:
    """Return the modules that are loaded at the end of a command."""
    return loaded(shell, "import sys; from steelyard.cli import main; main(sys.argv[1:])", *words)


def ours(modules: set[str]) -> set[str]:
    """Return the modules of the package, by their names below it."""
    return {name.removeprefix("steelyard.") for name in modules if name.startswith("steelyard.")}


def beyond(shell: Shell, modules: set[str], basis: str) -> set[str]:
    """Return the other packages and modules that are not loaded by a program already."""
    return {
        name
        for name in {module.partition(".")[0] for module in modules - loaded(shell, basis)}
        if not name.startswith("_") and name not in {"steelyard", "anyio"}
    } | {module for module in modules if module.startswith(("anyio._backends", "anyio._core._eventloop"))}


def test_the_class_of_the_store_loads_no_value_and_no_event_loop(shell: Shell) -> None:
    modules = loaded(shell, "from steelyard import LocalStore")

    assert set(LIBRARY.split()) == ours(modules)
    assert {"contextvars", "weakref"} >= beyond(shell, modules, "import anyio, msgspec")
    assert not {"msgspec", "pathlib"} & modules


def test_version_loads_neither_the_library_nor_the_parser(shell: Shell) -> None:
    modules = loaded_by(shell, "--version")

    assert set(VERSION.split()) == ours(modules)
    assert {"errno"} >= beyond(shell, modules, BASIS)
    assert "anyio" not in modules


@pytest.mark.parametrize("words", [["--help"], ["images", "--help"], []], ids=" ".join)
def test_help_loads_the_parser_and_no_command(shell: Shell, words: list[str]) -> None:
    modules = loaded_by(shell, *words)

    assert set(HELP.split()) == ours(modules)
    assert {"errno"} >= beyond(shell, modules, BASIS)
    assert "anyio" not in modules


@pytest.mark.parametrize("name", sorted(LOOKS))
def test_a_command_that_looks_at_a_local_store_starts_no_event_loop(stocked: Shell, name: str) -> None:
    words = [*name.split(), *(["00000000"] if name == "info" else ())]
    modules = loaded_by(stocked, *words)

    own = {"images": {"cli.images", "cli.image_names"}, "ingests": {"cli.ingests"}}.get(
        name.split(maxsplit=1)[0], {"cli.look"}
    )
    assert set(LOOK.split()) | own == ours(modules)
    assert {"contextvars", "errno", "fcntl", "select", "shlex", "signal", "weakref"} >= beyond(stocked, modules, VALUES)


def test_a_command_that_may_wait_runs_in_an_event_loop(stocked: Shell, tmp_path: Path) -> None:
    assert "asyncio" in loaded_by(stocked, "put", str(tmp_path / "nothing"))


def test_a_tab_does_not_load_the_terminal_library(shell: Shell) -> None:
    assert "rich" not in loaded_by(shell, "__complete", "ls", "--f")


def test_the_commands_that_only_look_exist() -> None:
    assert set() == LOOKS - COMMANDS.keys()
