"""The rows, in the order of the table of goals; `steelyard.bench` says how to add one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from steelyard.bench._model import Row, Scale
from steelyard.bench._rows import one_large

__all__ = ("ROWS",)

ROWS: Mapping[int, Callable[[Scale], Row[Any]]] = {
    1: one_large.sha256,
}
"""What makes each row, at a scale."""
