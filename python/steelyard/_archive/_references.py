"""The blobs that a document names, as garbage collection sees them.

A reader of images is strict, and refuses a document that two readers could understand in two ways. Here the same document counts as naming
all that either of them would find, because what is named is kept.
"""

from __future__ import annotations

from typing import NamedTuple

from steelyard._native import DOCUMENT_LIMIT, is_document, may_be_document, references
from steelyard.digest import Digest

__all__ = ("DOCUMENT_LIMIT", "NOTHING", "References", "is_document", "may_be_document", "references_in")


class References(NamedTuple):
    """The references of a document.

    Attributes:
        blobs: its parts, of any kind.
        documents: those of the parts that are documents by their media types.
        subject: the images that it says something about.
        invalid: the number of digests that no blob can have.
        is_whole: whether the bytes are JSON.
    """

    blobs: tuple[Digest, ...] = ()
    documents: frozenset[Digest] = frozenset()
    subject: tuple[Digest, ...] = ()
    invalid: int = 0
    is_whole: bool = True


NOTHING = References()


def references_in(data: bytes) -> References:
    """Return what a document names. The GIL is released while it is parsed."""
    found = references(data)
    if found is None:
        return References(is_whole=False)
    parsed = [(Digest.parse(text), role) for text, role in found[0]]
    return References(
        blobs=tuple(digest for digest, role in parsed if role != "subject"),
        documents=frozenset(digest for digest, role in parsed if role == "document"),
        subject=tuple(digest for digest, role in parsed if role == "subject"),
        invalid=found[1],
    )
