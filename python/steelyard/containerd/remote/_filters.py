"""Which filters a server may apply for us.

A listing is always filtered here. A row that the server leaves out must be left out here too, so it only gets filters
that mean the same everywhere: containerd knows no sizes and times, and its regular expressions are not ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ("for_server",)

_VALUE = r"[A-Za-z0-9_:/@+-][A-Za-z0-9_:/@.+-]*"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


def _selectors(field: str) -> re.Pattern[str]:
    selector = rf"(?:{field})(?:(?:==|!=){_VALUE})?"
    return re.compile(rf"{selector}(?:,{selector})*", re.ASCII)


_PLAIN = {
    "blob": _selectors(rf'digest|labels(?:\.{_NAME})+|labels\."[^"\\\x00-\x1f\x7f-\uffff]+"'),
    "ingest": _selectors("ref"),
}


def for_server(kind: str, filters: Sequence[str]) -> Sequence[str]:
    """Return the filters, if the server may apply all of them, or none.

    Args:
        kind: ``blob`` or ``ingest``.
        filters: filters that parse.
    """
    return filters if all(_PLAIN[kind].fullmatch(text) for text in filters) else ()
