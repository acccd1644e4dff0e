"""The ratios that are held: pairs of contestants of `steelyard-bench`, in memory (tmpfs), small.

Of the time of the processor, not of the clock: other programs take the processor away, and then one of a pair waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from steelyard_bench._alone import alone
from steelyard_bench._ground import open_ground
from steelyard_bench._model import H, Scale
from steelyard_bench._rounds import one_round, order
from steelyard_bench._rows import ROWS

__all__ = ("RATIOS", "ROUNDS", "Ratios", "measure")

ROUNDS = 9


@dataclass(frozen=True)
class Ratios:
    """Pairs of a row.

    Attributes:
        row: its number.
        divisor: how much smaller than in the table of goals.
        pairs: a contestant, and what it is compared with.
    """

    row: int
    divisor: int
    pairs: tuple[tuple[str, str], ...]

    def names(self) -> list[str]:
        """Return the names of its values."""
        return [f"row {self.row}, 1/{self.divisor}: {ours} / {other}" for ours, other in self.pairs]


RATIOS = (
    Ratios(4, 10, (("steelyard", "write and rename"), ("steelyard, unsynced", "write and rename"))),
    Ratios(8, 64, (("steelyard, readinto_at", "reads of 1 MiB"),)),
    Ratios(12, 10, (("steelyard, list", "SQLite, list"), ("steelyard, list", "scandir"))),
)
"""Those that repeat; `benches/README.md` has those that do not."""


async def measure(number: int, directory: Path, rounds: int) -> list[float]:
    """Return the median of the rounds' ratios, for each pair of `RATIOS[number]`."""
    wanted = RATIOS[number]
    row = ROWS[wanted.row](Scale(wanted.divisor))
    names = {name for pair in wanted.pairs for name in pair}
    contestants = [entry for entry in row.contestants if entry.name in names]
    if H in names and row.payload is not None:
        contestants.append(alone(row.payload))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    async with open_ground(directory) as ground, row.material(await ground.fresh("material")) as material:
        for turn in range(rounds + 1):
            for entry in order(contestants, turn):
                # Memory is scarcer than a disk, and deleting there costs the next round nothing.
                async with open_ground(directory) as own:
                    sample = await one_round(row, entry, material, own)
                if turn:
                    seconds[entry.name].append(sample.cpu_seconds)
    return [
        median(ours / other for ours, other in zip(seconds[pair[0]], seconds[pair[1]], strict=True))
        for pair in wanted.pairs
    ]
