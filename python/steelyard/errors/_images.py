"""The errors of images: of their names, documents and archives."""

from __future__ import annotations

from steelyard.errors._store import FailedPrecondition, InvalidArgument


class NameMoved(FailedPrecondition):
    """The image name does not hold the expected digest; it did not change.

    Attributes:
        name: the image name.
        expected: the expected digest, as text.
        actual: the actual digest, as text.
    """

    code = "name_moved"

    def __init__(self, name: str, *, expected: str, actual: str) -> None:
        super().__init__(f"image name {name}: expected it to hold {expected}, found {actual}")
        self.name = name
        self.expected = expected
        self.actual = actual


class IncompleteImage(FailedPrecondition):
    """Blobs that the image needs are not stored.

    Attributes:
        name: the image name, or the digest of its root.
        absent: for each absent blob its digest, the digest of the document that names it, and its platform; the last two
            may be None.
    """

    code = "incomplete_image"

    def __init__(self, name: str, absent: tuple[tuple[str, str | None, str | None], ...]) -> None:
        shown = [
            digest + (f" for {platform}" if platform else "") + (f", named by {parent}" if parent else "")
            for digest, parent, platform in absent[:10]
        ]
        more = [f"{len(absent) - 10} more"] if len(absent) > 10 else []
        super().__init__(f"image {name}: not stored: {'; '.join(shown + more)}")
        self.name = name
        self.absent = absent


class InvalidReference(InvalidArgument):
    """The text is not the name of an image.

    Attributes:
        text: the text, shortened to at most 300 characters.
        reason: the reason.
    """

    code = "invalid_reference"

    def __init__(self, text: str, reason: str) -> None:
        self.text = text if len(text) <= 300 else text[:299] + "…"
        super().__init__(f"image name {self.text!r}: {reason}")
        self.reason = reason


class InvalidImage(InvalidArgument):
    """An image does not conform to its format; it has no name in the store."""

    code = "invalid_image"


class InvalidDocument(InvalidImage):
    """A manifest, an index, a config or another JSON document is malformed or contradicts itself or its descriptor.

    Attributes:
        name: the document: its digest, or its name in the layout or archive.
        where: the place in it, as a JSON path that begins with ``$``.
        expected: the expected value.
        found: the actual value.
    """

    code = "invalid_document"

    def __init__(self, name: str, *, expected: str, found: str, where: str = "$") -> None:
        place = "" if where == "$" else f", {where}"
        super().__init__(f"{name}{place}: expected {expected}, found {found}")
        self.name = name
        self.where = where
        self.expected = expected
        self.found = found


class InvalidArchive(InvalidImage):
    """An archive is malformed, truncated or contradictory, or uses a feature that no image needs.

    Attributes:
        entry: the name of the entry, or None for the archive itself.
        expected: the expected value.
        found: the actual value.
        offset: the place in the archive, in bytes after decompression, or None if unknown.
    """

    code = "invalid_archive"

    def __init__(self, entry: str | None, *, expected: str, found: str, offset: int | None = None) -> None:
        what = "archive" if entry is None else f"archive entry {entry!r}"
        place = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{what}{place}: expected {expected}, found {found}")
        self.entry = entry
        self.expected = expected
        self.found = found
        self.offset = offset


class LimitExceeded(InvalidImage):
    """An image exceeds a limit of the call.

    Attributes:
        name: the object that is too large: an entry, a document, an archive.
        limit: the name of the limit: a field of `steelyard.images.Limits`.
        allowed: the maximum.
        found: the actual value, or None if it was not read to its end.
    """

    code = "limit_exceeded"

    def __init__(self, name: str, *, limit: str, allowed: int, found: int | None = None) -> None:
        amount = "more" if found is None else str(found)
        super().__init__(f"{name}: over the limit {limit}: at most {allowed} allowed, found {amount}")
        self.name = name
        self.limit = limit
        self.allowed = allowed
        self.found = found
