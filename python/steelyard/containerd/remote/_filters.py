"""The selection of filters that a server may apply for us.

A listing is always filtered on this side, too. The server must not leave out rows that match here, so it only gets filters that have the
same meaning there: containerd does not filter by sizes and times, and its regular expressions differ from ours.
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
    """Return the filters if the server may apply all of them, and otherwise no filters.

    Args:
        kind: ``blob`` or ``ingest``.
        filters: valid filters.
    """
    return filters if all(_PLAIN[kind].fullmatch(text) for text in filters) else ()
