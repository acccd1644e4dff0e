"""Filters that a client makes to be dear: they are refused or compiled beside the other calls, which go on."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode

from steelyard_bench._proto import content_pb2 as pb
from steelyard_bench._proto import images_pb2

from .serving import serving
from .wire import SECONDS, Wire, refused

HANG_SECONDS = 120
LISTS = (
    [rf"digest~=\w{{100}}x{number}" for number in range(100)],
    ["digest~=(?i)(?:" + r"\pL" * 600 + f"){{0}}{number}" for number in range(5)],
)
"""One that is refused, and the one that takes longest."""
ENOUGH = 20
"""Answers to see. Each comes while the lists are compiled, and the test hangs if one does not come."""


@pytest.mark.slow
@pytest.mark.parametrize("clients", [2, pytest.param(32, marks=pytest.mark.slow)])
def test_info_is_answered_while_clients_send_the_worst_filters(
    tmp_path: Path, record_property: Callable[[str, object], None], clients: int
) -> None:
    (tmp_path / "in").mkdir()
    with serving(tmp_path / "in") as service, grpc.insecure_channel(service.address) as channel:
        content = Wire(channel)
        digest = content.store(b"data")
        over = threading.Event()
        answered = [0] * clients
        patience = SECONDS if clients == 2 else 5  # seconds; the lists of many clients take longer than they are worth

        def send(number: int) -> None:
            with grpc.insecure_channel(service.address) as own:
                while not over.is_set():
                    request = pb.ListStatusesRequest(filters=LISTS[number % len(LISTS)])
                    try:
                        Wire(own).content.ListStatuses(request, timeout=patience)
                    except grpc.RpcError as error:
                        outcomes = {StatusCode.INVALID_ARGUMENT, StatusCode.DEADLINE_EXCEEDED}
                        assert error.code() in outcomes  # noqa: PT017  # or it is answered
                    answered[number] += 1

        threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        waits: list[float] = []
        while len(waits) < ENOUGH or 0 in answered:
            began = time.monotonic()
            content.content.Info(pb.InfoRequest(digest=digest), timeout=HANG_SECONDS)
            waits.append(time.monotonic() - began)
        over.set()
        for thread in threads:
            thread.join()
        grown = service.memory >> 20

    record_property("info_median_ms", statistics.median(waits) * 1000)
    record_property("info_worst_ms", max(waits) * 1000)
    print(f"Info: median {statistics.median(waits) * 1000:.1f} ms, worst {max(waits) * 1000:.1f} ms, {grown} MiB")
    assert grown < 512, "one expression that is not cheap is compiled at a time"


@pytest.mark.parametrize(
    ("filters", "bound"),
    [(LISTS[0], "at most 4096 KiB"), ([""] * 100_000, "100000 filters, at most 1000"), (["a" * 100_000], "32768")],
    ids=["compiled", "number", "length"],
)
def test_a_bound_is_named_by_every_listing(content: Wire, filters: list[str], bound: str) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, bound):
        list(content.content.List(pb.ListContentRequest(filters=filters), timeout=SECONDS))
    with refused(StatusCode.INVALID_ARGUMENT, bound):
        content.content.ListStatuses(pb.ListStatusesRequest(filters=filters), timeout=SECONDS)
    with refused(StatusCode.INVALID_ARGUMENT, bound):
        content.images.List(images_pb2.ListImagesRequest(filters=filters), timeout=SECONDS)
