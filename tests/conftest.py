"""Fixtures of all tests: both async backends, a guard against leaks, reproducible hypothesis runs."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from support.guard import pytest_cmdline_main, pytest_runtest_protocol, pytest_unconfigure  # noqa: F401  # hooks: nothing outlives a limit or the run

# A debug build of the extension warns when it is imported. Tests may run on one; measurements may not.
os.environ.setdefault("STEELYARD_ALLOW_DEBUG", "1")

# A failing example is printed as a `@reproduce_failure` line, so no run depends on a database that others lack.
# No example and no search for one fails because the machine is slow. CI tries the same examples each time; people try others.
hypothesis.settings.register_profile(
    "steelyard",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    database=None,
    print_blob=True,
    max_examples=50,
    stateful_step_count=30,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steelyard"))

_SLOW = {
    "test_a_cancelled_collection_leaves_garbage_only",
    "test_a_long_chain_is_followed",
    "test_a_tree_of_documents_may_name_very_many_blobs",
    "test_a_blob_whose_root_moves_during_a_collection_stays",
    "test_a_blob_whose_root_moves_during_why_has_a_root",
}
"""Tests of every store that take seconds."""

_numbers = itertools.count()
_HANG_SECONDS = 30
_EVENTS = "anon_inode:[event"
_DESCRIPTORS = Path("/proc/self/fd")
_POOLS = ("AnyIO worker thread", "Trio thread", "steelyard-", "Dummy-")
"""Prefixes of the names of pooled threads: they outlive a test by design and hold nothing of it. A dummy is what Python calls
a thread that it did not start, here one of gRPC's."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start two processes for each processor: the tests wait for disks, servers and other processes half of their time."""
    return 2 * len(os.sched_getaffinity(0))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is collected, a million objects that stay to the end, out of the sight of the garbage collector.

    It would go through all of them again and again, and hold up the event loops of tests that measure how long they are held up.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests of `steelyard.testing`, which knows no such marker, whatever store they test."""
    for item in items:
        if getattr(item, "originalname", "") in _SLOW:
            item.add_marker("slow")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Run every async test on both backends."""
    backend: str = request.param
    return backend


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves a descriptor or a thread behind.

    It is set up before the other fixtures of a test, hence torn down after them and after the event loop. Threads of native
    code and of gRPC close what they had open soon after the call that asks for it: a leak is what is still there much later.
    """
    importlib.import_module("steelyard._native")  # it holds a descriptor from then on, which is no test's
    descriptors = _open_descriptors()
    threads = set(threading.enumerate())
    yield
    leaked = _leaked(descriptors, threads)
    for generation in range(3):
        if leaked:
            # What was dropped, but is part of a reference cycle, is no leak; a young cycle is found cheaply.
            gc.collect(generation)
            leaked = _leaked(descriptors, threads)
    end = time.monotonic() + _HANG_SECONDS
    while leaked and time.monotonic() < end:
        time.sleep(0.01)
        leaked = _leaked(descriptors, threads)
    assert not leaked, f"left behind: {', '.join(leaked)}"


def _open_descriptors() -> dict[str, str]:
    found = {}
    if _DESCRIPTORS.is_dir():
        for entry in list(_DESCRIPTORS.iterdir()):
            try:
                found[entry.name] = str(entry.readlink())
            except OSError:  # the descriptor that read the directory itself
                continue
    return found


def _events(descriptors: dict[str, str]) -> int:
    return sum(target.startswith(_EVENTS) for target in descriptors.values())


def _leaked(descriptors: dict[str, str], threads: set[threading.Thread]) -> list[str]:
    now = _open_descriptors()
    files = [f"descriptor {number} ({target})" for number, target in now.items() if descriptors.get(number) != target]
    if "grpc" in sys.modules and _events(now) <= _events(descriptors):
        # After a fork gRPC makes its own again, in the parent too, and they get other numbers.
        files = [file for file in files if _EVENTS not in file]
    pooled = [thread for thread in threading.enumerate() if not thread.name.startswith(_POOLS)]
    return files + [f"thread {thread.name}" for thread in pooled if thread not in threads]


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a containerd of the tests' own, as root; without one the test is skipped."""
    from foreign.programs import root_only  # noqa: PLC0415  # it needs what only some tests do

    from steelyard_bench._peers._containerd import daemon  # noqa: PLC0415

    root_only("containerd")
    root_only("ctr")
    with daemon(tmp_path_factory.mktemp("containerd")) as address:
        yield address


@pytest.fixture(scope="session")
def isolated_containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give another one, in which a namespace does not profit from what another one has."""
    from foreign.programs import root_only  # noqa: PLC0415

    from steelyard_bench._peers._containerd import daemon  # noqa: PLC0415

    root_only("containerd")
    root_only("ctr")
    policy = '[plugins."io.containerd.metadata.v1.bolt"]\ncontent_sharing_policy = "isolated"\n'
    with daemon(tmp_path_factory.mktemp("isolated"), policy) as address:
        yield address


@pytest.fixture
def namespace() -> str:
    """Give a namespace of containerd's that no other test has."""
    return f"test-{next(_numbers)}"
