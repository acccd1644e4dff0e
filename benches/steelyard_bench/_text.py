"""Sizes, times and ratios, as a person reads them."""

from __future__ import annotations

__all__ = ("ratio", "seconds", "size", "value")


def size(number: float) -> str:
    """Return a size: ``17 B``, ``4 KiB``, ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            break
        number /= 1024
    return f"{number:.1f}".removesuffix(".0") + f" {unit}"


def seconds(number: float) -> str:
    """Return a time with three digits that count: ``1.23 s``, ``45.6 ms``, ``789 µs``."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "µs")):
        if number * factor >= 1:
            return f"{_three(number * factor)} {unit}"
    return f"{_three(number * 1e9)} ns"


def ratio(number: float) -> str:
    """Return a ratio: ``0.041``, ``0.95``, ``1.05``, ``12.3``, ``480``."""
    return f"{number:.3f}" if number < 0.1 else f"{number:.2f}" if number < 10 else _three(number)


def value(number: float, metric: str) -> str:
    """Return a value of a metric in its unit, which the metric's name ends with."""
    match metric.rpartition("_")[2]:
        case "seconds":
            return seconds(number)
        case "bytes":
            return size(number)
        case _:
            return ratio(number)


def _three(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
