"""The command; `gate` tells what it does."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from gate.calls import why_no_strace
from gate.jobs import slacks
from gate.measure import Measure, measures, memory
from gate.record import RECORD, Line, Record, compare, is_ratio, machine, table
from steelyard import _native

AGAIN = 2
"""How often what is above its record is measured again; what holds stays above it."""

TO_RECORD = 3
"""How often all is measured for a record, which has the medians of ratios, and of counts the most that chance gave."""


def main(words: Sequence[str]) -> int:
    """Measure and compare, or record; return the exit status."""
    options = _options(words)
    if _native.debug_build and not options.counts_only:
        return _say("an unoptimised extension: pip install -e .", status=2)
    no_strace, place = why_no_strace(), memory()
    if no_strace:
        _say(f"SKIPPED: system calls are NOT counted. {no_strace}")
    if place is None:
        _say("SKIPPED: ratios are NOT measured. /dev/shm has less than 256 MiB free")
    every = measures(calls=not no_strace, ratios=place is not None and not options.counts_only)
    chosen = {name: measure for name, measure in every.items() if options.only in name}
    name = machine(place or Path(tempfile.gettempdir()))
    record = Record.read(options.file)
    if options.spread:
        return _print_spread(chosen, options.spread)
    if options.record:
        if no_strace or place is None:
            return _say("a record needs strace, and room in /dev/shm", status=2)
        return _renew(record, chosen, name, options.file, whole=chosen == every)
    return _check(record, chosen, name, whole=chosen == every)


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gate", description="Hold what repeats against its record.")
    parser.add_argument("--record", action="store_true", help="write a new record")
    parser.add_argument("--spread", type=int, metavar="TIMES", help="measure so often, and tell how well values repeat")
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs and rows with this in their name")
    parser.add_argument("--counts-only", action="store_true", help="no ratios")
    parser.add_argument("--file", type=Path, default=RECORD, help="the record")
    return parser.parse_args(words)


def _check(record: Record, chosen: Mapping[str, Measure], name: str, *, whole: bool) -> int:
    recorded = record.for_machine(name)
    found: dict[str, float] = {}
    for measure in chosen.values():
        values = measure()
        for _ in range(AGAIN):
            if all(line.verdict != "worse" for line in compare(recorded, values, slacks()) if line.found is not None):
                break
            again = measure()
            values = {key: min(value, again[key]) for key, value in values.items()}
        found |= values
    lines = [line for line in compare(recorded, found, slacks()) if whole or line.found is not None]
    print(table(lines))
    if name not in record.ratios:
        _say(f"no ratios are recorded for this machine, so they hold nothing here: {name}")
    if better := _named(lines, "better"):
        _say(f"{len(better)} better than recorded by more than 20 %; a new record holds them: {record.renew}")
    counted = {line.name for line in lines if line.verdict == "not recorded" and not is_ratio(line.name)}
    worse = [line for line in lines if line.verdict == "worse" or line.name in counted]
    if worse:
        print(f"\n{table(worse)}")
        return _say(
            f"FAILED: {len(worse)} worse than recorded by more than 20 %, or new. Meant? {record.renew}", status=1
        )
    return _say("as recorded, within 20 %")


def _named(lines: list[Line], verdict: str) -> list[str]:
    return [line.name for line in lines if line.verdict == verdict]


def _renew(record: Record, chosen: Mapping[str, Measure], name: str, path: Path, *, whole: bool) -> int:
    found = _repeat(chosen, TO_RECORD)
    ratios = {key: median(values) for key, values in found.items() if is_ratio(key)}
    if whole:  # what is measured no more goes
        record.counts = {}
        record.ratios |= {name: {}} if ratios else {}
    record.counts |= {key: max(values) for key, values in found.items() if not is_ratio(key)}
    if ratios:
        record.ratios[name] = record.ratios.get(name, {}) | ratios
    record.write(path)
    return _say(f"{len(found)} values are in {path.name}, ratios for {name}")


def _print_spread(chosen: Mapping[str, Measure], times: int) -> int:
    for key, values in _repeat(chosen, times).items():
        low, high = min(values), max(values)
        spread = (high / low - 1) * 100 if low else (0.0 if not high else float("inf"))
        print(f"{key:60}  {low:10.4g}  {median(values):10.4g}  {high:10.4g}  {spread:6.1f} %")
    return 0


def _repeat(chosen: Mapping[str, Measure], times: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _ in range(times):
        for measure in chosen.values():
            for key, value in measure().items():
                found.setdefault(key, []).append(value)
    return found


def _say(text: str, *, status: int = 0) -> int:
    print(f"gate: {text}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
