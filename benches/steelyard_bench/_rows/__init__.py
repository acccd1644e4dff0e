"""The rows, in the order of the table of goals; `steelyard_bench` says how to add one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steelyard_bench._model import Row, Scale
from steelyard_bench._rows import (
    buckets,
    calls,
    checks,
    images,
    lists,
    many_large,
    many_small,
    many_streams,
    memories,
    one_large,
    reads,
    resumes,
    services,
    stalls,
)

__all__ = ("ROWS",)

ROWS: Mapping[int, Callable[[Scale], Row[Any]]] = {
    1: one_large.sha256,
    2: one_large.three,
    3: many_large.at_once,
    4: many_small.batch,
    5: many_small.concurrent,
    6: many_streams.at_once,
    7: calls.call,
    8: reads.large,
    9: reads.ranges,
    10: checks.verify_all,
    11: resumes.resume,
    12: lists.listing,
    13: stalls.stall,
    14: memories.peak,
    15: images.large_layers,
    16: images.small_layers,
    17: images.export,
    18: services.large,
    19: services.small,
    20: buckets.put_large,
    21: buckets.read_large,
    22: buckets.small,
    23: buckets.walk,
}
"""The function that makes each row, at a scale."""
