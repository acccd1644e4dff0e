"""A case of a suite: one contestant of a row, at a size, on a backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from steelyard_bench._model import Contestant, Row, Scale
from steelyard_bench._rows import ROWS

__all__ = ("Case", "Take")


@dataclass(frozen=True)
class Case:
    """One contestant of a row, at a size, on a backend."""

    number: int
    divisor: int
    contestant: str
    backend: str

    @cached_property
    def row(self) -> Row[Any]:
        return ROWS[self.number](Scale(self.divisor))

    @cached_property
    def entry(self) -> Contestant[Any]:
        return next(entry for entry in self.row.contestants if entry.name == self.contestant)

    @property
    def name(self) -> str:
        """The parameters: backend, size, algorithm, durability, who."""
        durability = {True: "durable", False: "not-durable", None: "writes-nothing"}[self.entry.durable]
        words = [self.backend, f"1/{self.divisor}", self.entry.algorithm, durability, self.contestant]
        return "-".join(word.replace(" ", "_") for word in words if word)


Take = Callable[[Case], None]
