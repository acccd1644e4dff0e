"""The labels of containerd that say what a collection keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

__all__ = ("EXPIRE", "FLAT", "REFERENCE", "ROOT", "expiry_of")

ROOT = "containerd.io/gc.root"
EXPIRE = "containerd.io/gc.expire"
FLAT = "containerd.io/gc.flat"
REFERENCE = "containerd.io/gc.ref.content"

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
"""The times that native code takes, too. `datetime.fromisoformat` takes many other texts, some of them as local times."""


def expiry_of(labels: Mapping[str, str]) -> datetime | None:
    """Return the time in the label ``gc.expire``, or None if the label is absent or not a time of RFC 3339."""
    text = labels.get(EXPIRE, "")
    if _RFC_3339.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):  # the day does not exist, or the year in UTC is not from 1 to 9999
        return None
