"""The rows, in the order of the table of goals; `steelyard.bench` says how to add one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steelyard.bench._model import Row, Scale
from steelyard.bench._rows import many_large, many_small, one_large

__all__ = ("ROWS",)

ROWS: Mapping[int, Callable[[Scale], Row[Any]]] = {
    1: one_large.sha256,
    2: one_large.three,
    3: many_large.at_once,
    4: many_small.batch,
    5: many_small.concurrent,
}
"""What makes each row, at a scale."""
