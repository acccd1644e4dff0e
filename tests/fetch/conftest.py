"""A server of the tests' own, and stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from steelyard.fetch import Retries

from .server import Server, running

QUICK = Retries(first_seconds=0.001, most_seconds=5, silence_seconds=30)
"""Pauses that tests need not wait for."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server that has no file yet."""
    with running() as server:
        yield server


@pytest.fixture
def other() -> Iterator[Server]:
    """Give another server."""
    with running() as server:
        yield server
