"""The log of a service on standard error: readable lines, or JSON objects."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from steelyard.cli.printing import printable

__all__ = ("log_to_stderr",)


def log_to_stderr(shape: str, level: str) -> None:
    """Start to log the messages of the service.

    Args:
        shape: ``text`` or ``json``.
        level: the least serious entries to log.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if shape == "json" else _Text())
    logger = logging.getLogger("steelyard")
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Text(logging.Formatter):
    """Time, level, message, and the fields that the message does not contain."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        more = "".join(f" {name}={fields[name]}" for name in ("seconds", "bytes_in", "bytes_out") if name in fields)
        line = f"{_time(record)} {record.levelname.lower()} {printable(record.getMessage())}{more}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class _Json(logging.Formatter):
    """All fields, by name."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)
