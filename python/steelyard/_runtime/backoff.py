"""Pauses between attempts."""

from __future__ import annotations

import random

__all__ = ("pause_seconds",)


def pause_seconds(attempt: int, *, first: float, most: float) -> float:
    """Return how long to wait after a failed attempt: a random time, so that clients do not all try again at once.

    Args:
        attempt: the number of the failed attempt, counted from 0.
        first: the upper bound of the first pause, in seconds. It doubles with each attempt.
        most: the upper bound of all pauses, in seconds.
    """
    return random.uniform(0, min(most, first * 2 ** min(attempt, 30)))  # noqa: S311  # no secret
