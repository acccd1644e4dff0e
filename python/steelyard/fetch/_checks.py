"""Checks of answers against the caller's expectations, and against the known facts of the file."""

from __future__ import annotations

from steelyard.digest import Digest
from steelyard.errors import InvalidResponse, UnexpectedDigest, UnexpectedSize
from steelyard.fetch._origin import Answer
from steelyard.fetch._pauses import Changed
from steelyard.options import PutOptions

__all__ = ("check_answer", "check_end", "noted")


def check_answer(shown: str, wanted: PutOptions, total: int | None, digest: Digest | None, answer: Answer) -> None:
    """Compare an answer with the caller's expectations, and a part with the known size and digest of the file.

    Args:
        shown: the source, for people.
        wanted: the caller's expectations.
        total: the size of the file, or None if it is not known.
        digest: the digest of the file, or None if it is not known.
        answer: the answer.

    Raises:
        UnexpectedSize, UnexpectedDigest: the file has another size or digest than the caller expects.
        Changed: the part belongs to another version.
        InvalidResponse: the end of the bytes could not be distinguished from a broken connection.
    """
    stated = answer.digest
    if wanted.size is not None and answer.total is not None and answer.total != wanted.size:
        raise noted(UnexpectedSize(expected=wanted.size, actual=answer.total), shown)
    if wanted.expected is not None and stated is not None and stated != wanted.expected:
        raise noted(UnexpectedDigest(expected=wanted.expected, actual=stated), shown)
    if answer.is_part and total is None and answer.total is None:
        raise InvalidResponse(shown, expected="a part of a known total", actual="none")
    if answer.offset:
        other_size = total is not None and answer.total not in {None, total}
        if other_size or (digest is not None and stated not in {None, digest}):
            raise Changed
    elif not answer.framed and wanted.size is None and wanted.expected is None and stated is None:
        raise InvalidResponse(shown, expected="a Content-Length, a size or a digest", actual="none of them")


def check_end(shown: str, wanted: PutOptions, total: int | None, answer: Answer, place: int) -> None:
    """Refuse bytes after the end of the file or the part.

    Raises:
        UnexpectedSize, InvalidResponse: `place`, the position after the bytes so far, is beyond the end.
    """
    if wanted.size is not None and place > wanted.size:
        raise noted(UnexpectedSize(expected=wanted.size, actual=place), shown)
    end = total if answer.end is None else answer.end
    if end is not None and place > end:
        expected, actual = f"{end - answer.offset} bytes", f"{place - answer.offset} or more"
        raise InvalidResponse(shown, expected=expected, actual=actual)


def noted(error: Exception, shown: str) -> Exception:
    """Return the error with a note that names the source."""
    error.add_note(f"fetch: {shown}")
    return error
