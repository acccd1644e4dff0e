"""Servers that end with the process that started them, even when it is killed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence

__all__ = ("tied",)


def tied(command: Sequence[str]) -> list[str]:
    """Return a command that does the same, but is killed by the kernel when this process ends.

    The kernel watches the thread that starts it, so this is only done on the main thread, and where there is `setpriv`.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return list(command)
    return [setpriv, "--pdeathsig", "KILL", "--", *command]
