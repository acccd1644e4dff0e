"""The names of containerd's namespaces."""

from __future__ import annotations

import re

from steelyard.errors import InvalidArgument

__all__ = ("NAMESPACE", "check_namespace")

NAMESPACE = "containerd-namespace"
"""The field of a call that names its namespace."""

_NAMESPACE = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", re.ASCII)
_NAMESPACE_LIMIT = 76


def check_namespace(namespace: str | None) -> str | None:
    """Return the namespace if it is valid: letters and digits, in parts joined by ``.``, ``_`` or ``-``. Raises InvalidArgument."""
    if namespace is not None and (len(namespace) > _NAMESPACE_LIMIT or not _NAMESPACE.fullmatch(namespace)):
        raise InvalidArgument(
            f"namespace {namespace[:100]!r}: expected letters and digits in parts joined by '.', '_' or '-', "
            f"at most {_NAMESPACE_LIMIT} characters"
        )
    return namespace
