"""The description that the extension module gives of itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from steelyard import _native


@pytest.mark.parametrize("allowed", [False, True], ids=["as it is", "allowed"])
def test_a_debug_build_warns_when_imported_unless_that_is_allowed(allowed: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "STEELYARD_ALLOW_DEBUG"}
    if allowed:
        environment["STEELYARD_ALLOW_DEBUG"] = "1"
    command = [sys.executable, "-c", "import steelyard._native"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert (_native.debug_build and not allowed) == (
        "RuntimeWarning: steelyard._native is a debug build" in done.stderr
    )
