"""A run of pytest survives the tests that hang or crash, and leaves no process behind.

The tests run in a process of their own. Its parent, the supervisor, hears when each test begins and what it reports. A test that
goes past its limit and does not end by itself (pytest-timeout raises in the main thread, which cannot end a wait in native
code) has its stacks printed and is killed with its process, and so is one that crashes. It counts as failed, and another
process goes on with the next test, with the reports that are there already.

Processes that tests have left running are killed at the end of each such process. The supervisor is told by the kernel if
pytest itself is killed, and then ends everything.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

__all__ = ("pytest_cmdline_main",)

GRACE_SECONDS = float(os.environ.get("STEELYARD_TEST_GRACE_SECONDS", "30"))
"""How long a test has, after its limit, to end by what pytest-timeout raises."""

QUIET_SECONDS = 300.0
"""The most time that may pass between two tests, before the first and after the last."""

MOST_LOST = 5
"""After so many tests that hung or crashed, the others are not run."""

_POLL_SECONDS = 0.25
_DUMP_SECONDS = 5.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

Message = dict[str, Any]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Run the tests in a process that can be replaced; return its exit code, or None in that process itself."""
    option = config.option
    others = option.help or option.version or option.collectonly or option.usepdb or option.trace
    if others or getattr(option, "numprocesses", None) or hasattr(config, "workerinput"):
        return None
    # The terminal sends Ctrl-C to all three processes; the one with the tests is to act on it.
    before = signal.signal(signal.SIGINT, _ignore)
    supervisor = _fork(signal.SIGTERM)
    if supervisor == 0:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGTERM, _end_all)
        config.pluginmanager.register(_Supervisor(config, before).keep())
        return None
    _, status = os.waitpid(supervisor, 0)
    return _code(status)


def _ignore(*_: object) -> None:
    pass


def _end_all(*_: object) -> NoReturn:
    _sweep()
    os._exit(1)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _fork(death: signal.Signals) -> int:
    """Fork a process that gets a signal when this one dies."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _prctl(_PR_SET_PDEATHSIG, death)
        if os.getppid() != parent:  # it has died already
            os._exit(1)
    return child


def _code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _sweep() -> list[str]:
    """Kill all descendants, and return the names of those that still ran: the kernel gives us what lost its parent."""
    found = []
    while True:
        for pid in _children():
            with suppress(OSError):
                stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
                name, _, rest = stat.partition("(")[2].rpartition(")")
                if rest.split()[0] != "Z":
                    found.append(f"{name} ({pid})")
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return found


def _children() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state_and_parent = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:2]
            if int(state_and_parent[1]) == os.getpid():
                found.append(int(entry.parent.name))
    return found


def _say(text: str) -> None:
    print(f"\n{text}", flush=True)


class _Supervisor:
    """Starts the processes with the tests, one after the other, and knows what each test reported."""

    def __init__(self, config: pytest.Config, on_interrupt: Any) -> None:
        self._config = config
        self._on_interrupt = on_interrupt
        self._reports: dict[str, list[Message]] = {}
        self._lost: dict[str, str] = {}
        self._running: Message | None = None
        self._finished = False
        self._deadline = 0.0
        self._rest = b""

    def keep(self) -> Worker:
        """Return in a process that is to run tests. In this one, exit with the exit code of the run."""
        while True:
            readable, writable = os.pipe()
            child = _fork(signal.SIGKILL)
            if child == 0:
                os.close(readable)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                # A shell has its background jobs ignore SIGINT, and what they start inherits that: tests send it.
                ignored = self._on_interrupt == signal.SIG_IGN
                signal.signal(signal.SIGINT, signal.default_int_handler if ignored else self._on_interrupt)
                return Worker(self._config, writable, self._reports, self._lost)
            os.close(writable)
            status, hung = self._watch(child, readable)
            os.close(readable)
            if left := _sweep():
                _say(f"left running by the tests, and killed: {', '.join(left)}")
            if self._finished or self._running is None:
                os._exit(_code(status) or int(hung))
            how = "hung" if hung else f"ended its process: {_described(status)}"
            self._lost[self._running["start"]] = how
            _say(f"{self._running['start']} {how}; another process goes on")

    def _watch(self, child: int, readable: int) -> tuple[int, bool]:
        """Wait for the end of a process; return its status, and whether it had to be killed."""
        self._running, self._finished, self._rest = None, False, b""
        self._deadline = time.monotonic() + QUIET_SECONDS
        killed = 0.0
        while True:
            self._hear(readable)
            with suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:  # others are what lost its parent
                    if ended[0] == child:
                        self._hear(readable)
                        return ended[1], bool(killed)
            now = time.monotonic()
            if killed and now > killed + _DUMP_SECONDS:
                os.kill(child, signal.SIGKILL)
            elif not killed and now > self._deadline:
                killed = now
                _say(f"{self._place()} hangs; its threads:")
                # Python's fault handler prints the stacks, also where native code holds the GIL.
                resource.prlimit(child, resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
                os.kill(child, signal.SIGABRT)

    def _place(self) -> str:
        return "the run" if self._running is None else str(self._running["start"])

    def _hear(self, readable: int) -> None:
        wait = _POLL_SECONDS
        while select.select([readable], [], [], wait)[0]:
            data = os.read(readable, 1 << 16)
            if not data:  # it has closed it, or is gone
                time.sleep(wait / 10)
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            wait = 0

    def _take(self, message: Message) -> None:
        limit = QUIET_SECONDS
        match message:
            case {"start": _, "limit": limit}:
                self._running = message
                limit += GRACE_SECONDS
            case {"report": report}:
                self._reports.setdefault(report["nodeid"], []).append(report)
                return
            case {"end": _}:
                self._running = None
            case {"finished": _}:
                self._finished = True
        self._deadline = time.monotonic() + limit


def _described(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Worker:
    """The plugin in the process with the tests: tells the supervisor what happens, and takes over earlier reports."""

    def __init__(
        self, config: pytest.Config, pipe: int, reports: dict[str, list[Message]], lost: dict[str, str]
    ) -> None:
        self._config = config
        self._pipe = pipe
        self._reports = dict(reports)
        self._lost = dict(lost)
        self._taking_over = False

    def _tell(self, **message: object) -> None:
        data = json.dumps(message, default=str).encode() + b"\n"
        while data:
            data = data[os.write(self._pipe, data) :]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Take over what an earlier process found out, or let the test run."""
        if item.nodeid in self._lost or item.nodeid in self._reports:
            self._take_over(item)
            return True
        if len(self._lost) >= MOST_LOST:
            item.session.shouldstop = f"{MOST_LOST} tests hung or crashed"
            return True
        self._tell(start=item.nodeid, limit=_limit(item))
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Tell what a phase of a test reports."""
        if not self._taking_over:
            self._tell(report=self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Tell that a test has ended."""
        if not self._taking_over:
            self._tell(end=nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Tell that the run has ended and its summary is printed."""
        self._tell(finished=True)

    def _take_over(self, item: pytest.Item) -> None:
        reports = [
            item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
            for data in self._reports.get(item.nodeid, ())
        ]
        if item.nodeid in self._lost:
            reports.append(_lost_report(item, self._lost[item.nodeid]))
        self._taking_over = True
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        self._taking_over = False


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker is not None and marker.args else item.config.getini("timeout"))


def _lost_report(item: pytest.Item, how: str) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome="failed",
        longrepr=f"the test {how}; its stacks, if it had any, are printed above",
        when="call",
    )
