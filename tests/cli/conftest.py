"""A shell for each test, and a store with real files that tests may look at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fork_server import ForkServer
from .runner import Shell

SOURCES = Path(json.__file__).parent.parent
PACKAGES = ("json", "email", "importlib")
"""Slices of the standard library: real files, some of them empty, some alike."""


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Give the process that all runs are forked from."""
    fork_server = ForkServer()
    yield fork_server
    fork_server.close()


@pytest.fixture
def shell(tmp_path: Path, fork_server: ForkServer) -> Shell:
    """Give a shell with no store yet."""
    return Shell(tmp_path, fork_server)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory of real files. Look, don't touch."""
    top = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(SOURCES / package, top / package, ignore=shutil.ignore_patterns("__pycache__"))
    return top


@pytest.fixture(scope="session")
def files(tree: Path) -> dict[str, bytes]:
    """Give the content of each file of the tree, by its path."""
    return {str(path): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory, tree: Path, fork_server: ForkServer) -> Shell:
    """Give a shell whose store holds the tree. Look, don't touch."""
    shell = Shell(tmp_path_factory.mktemp("stocked"), fork_server)
    shell.run("put", "-r", tree)
    return shell


@pytest.fixture
def own(shell: Shell, stocked: Shell) -> Shell:
    """Give a shell with its own copy of that store, to change it."""
    shutil.copytree(stocked.store, shell.store)
    return shell
