"""Pauses between attempts."""

from __future__ import annotations

import random

__all__ = ("pause_seconds",)


def pause_seconds(attempt: int, *, first: float, most: float) -> float:
    """Return how long to wait after an attempt, the first of which is 0: a random time, so that clients do not return all at once.

    Args:
        attempt: the number of the attempt that failed.
        first: the bound of the first pause in seconds. It doubles with each attempt.
        most: the highest bound.
    """
    return random.uniform(0, min(most, first * 2 ** min(attempt, 30)))  # noqa: S311  # no secret
