"""Errors for images: their names, documents and archives."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard._digest_errors import InvalidArgument, UnsupportedAlgorithm
from steelyard.digest import Digest
from steelyard.errors._store import FailedPrecondition


class NameMoved(FailedPrecondition):
    """The image name does not hold the expected digest; it did not change.

    Attributes:
        name: the image name.
        expected: the expected digest.
        actual: the digest that the name holds.
    """

    code = "name_moved"

    def __init__(self, name: str, *, expected: Digest | str, actual: Digest | str) -> None:
        super().__init__(f"image name {name}: expected it to hold {expected}, found {actual}")
        self.name = name
        self.expected: Digest = Digest.parse(expected)
        self.actual: Digest = Digest.parse(actual)


Absent = tuple[Digest | str, Digest | str | None, str | None]
"""The digest of an absent blob, the digest of the document that names it (or None), and its platform (or None)."""


class IncompleteImage(FailedPrecondition):
    """Blobs that the image needs are not stored.

    Attributes:
        name: the image name, or the digest of its root.
        absent: for each absent blob its digest, the digest of the document that names it, and its platform; the last two
            may be None. A digest whose algorithm is not supported is text.
    """

    code = "incomplete_image"

    def __init__(self, name: str, *, absent: Iterable[Absent]) -> None:
        self.name = name
        self.absent: tuple[Absent, ...] = tuple(
            (_parsed(digest), None if parent is None else _parsed(parent), platform)
            for digest, parent, platform in absent
        )
        shown = [
            str(digest) + (f" for {platform}" if platform else "") + (f", named by {parent}" if parent else "")
            for digest, parent, platform in self.absent[:10]
        ]
        more = [f"{len(self.absent) - 10} more"] if len(self.absent) > 10 else []
        super().__init__(f"image {name}: not stored: {'; '.join(shown + more)}")


def _parsed(digest: Digest | str) -> Digest | str:
    try:
        return Digest.parse(digest)
    except UnsupportedAlgorithm:
        return digest


class InvalidReference(InvalidArgument):
    """The text is not the name of an image.

    Attributes:
        text: the text, shortened to at most 300 characters.
        reason: the reason.
    """

    code = "invalid_reference"

    def __init__(self, text: str, *, reason: str) -> None:
        self.text: str = text if len(text) <= 300 else text[:299] + "…"
        super().__init__(f"image name {self.text!r}: {reason}")
        self.reason = reason


class InvalidImage(InvalidArgument):
    """An image does not conform to its format. An import that raises this error sets no image name."""

    code = "invalid_image"


class InvalidDocument(InvalidImage):
    """A manifest, an index, a config or another JSON document is malformed or contradicts itself or its descriptor.

    Attributes:
        name: the document: its digest, or its name in the layout or archive.
        where: the place in it, as a JSON path that begins with ``$``.
        expected: the expected value.
        actual: the actual value.
    """

    code = "invalid_document"

    def __init__(self, name: Digest | str, *, expected: str, actual: str, where: str = "$") -> None:
        place = "" if where == "$" else f", {where}"
        super().__init__(f"{name}{place}: expected {expected}, found {actual}")
        self.name: str = str(name)
        self.where = where
        self.expected = expected
        self.actual = actual


class InvalidArchive(InvalidImage):
    """An archive is malformed, truncated or contradictory, or uses a feature that no image needs.

    Attributes:
        entry: the name of the entry, or None for the archive itself.
        expected: the expected value.
        actual: the actual value.
        offset: the place in the archive, in bytes after decompression, or None if unknown.
    """

    code = "invalid_archive"

    def __init__(self, entry: str | None, *, expected: str, actual: str, offset: int | None = None) -> None:
        what = "archive" if entry is None else f"archive entry {entry!r}"
        place = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{what}{place}: expected {expected}, found {actual}")
        self.entry = entry
        self.expected = expected
        self.actual = actual
        self.offset = offset


class LimitExceeded(InvalidImage):
    """An image exceeds a limit of the call.

    Attributes:
        name: the object that is too large: an entry, a document, an archive.
        limit: the name of the limit: a field of `steelyard.images.Limits`.
        allowed: the maximum.
        actual: the actual value, or None if the object was not read to its end.
    """

    code = "limit_exceeded"

    def __init__(self, name: str, *, limit: str, allowed: int, actual: int | None = None) -> None:
        amount = "more" if actual is None else str(actual)
        super().__init__(f"{name}: over the limit {limit}: at most {allowed} allowed, found {amount}")
        self.name = name
        self.limit = limit
        self.allowed = allowed
        self.actual = actual
