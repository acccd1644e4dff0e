"""Programs of others that tests of `steelyard.web` need."""

from __future__ import annotations

import os
import shutil

import pytest

__all__ = ("program",)


def program(name: str, package: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails where all programs were installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        message = f"{name} is not installed: `apt-get install {package}`"
        if os.environ.get("STEELYARD_ALL_PROGRAMS"):
            pytest.fail(message)
        pytest.skip(message)
    return found
