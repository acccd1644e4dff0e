"""Chromium without a screen, commanded through pipes."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ("Browser", "browsing")


class Browser:
    """A page in a running Chromium; the protocol is that of its developer tools."""

    def __init__(self, to: int, answers: int) -> None:
        self._to, self._answers = to, answers
        self._numbers = itertools.count(1)
        self._unread = b""
        self.events: list[dict[str, Any]] = []
        target = self._command("Target.createTarget", None, url="about:blank")["targetId"]
        self._session = self._command("Target.attachToTarget", None, targetId=target, flatten=True)["sessionId"]

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Have the page do something, and return the result."""
        return self._command(method, self._session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, also one that takes time."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        found = self.command("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Write what the page shows into a PNG."""
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot")["data"]))

    def _command(self, method: str, session: str | None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            data = os.read(self._answers, 1 << 16)
            assert data, "Chromium has ended"
            self._unread += data
        text, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        return found


@contextmanager
def browsing(program: str, directory: Path) -> Iterator[Browser]:
    """Run Chromium with an empty profile, and end it."""
    (commands, to), (answers, back) = os.pipe(), os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, back)]
    for end in (commands, back):
        os.close(end)
    # The program finds its pipes at 3 and 4; the shell puts them there. Other shells than bash know no descriptors above 9.
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
    options += ["--no-first-run", "--disable-extensions", "--window-size=640,360", f"--user-data-dir={directory}"]
    shell = ["bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash", program, *options]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(shell, pass_fds=ends, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    for end in ends:
        os.close(end)
    try:
        yield Browser(to, answers)
    finally:
        os.close(to)  # it ends without its pipe
        os.close(answers)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
