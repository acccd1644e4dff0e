"""The arguments of `Store.put`, `Store.put_many`, `Store.update_many`, `Ingester.writer` and `Writer.commit`, checked and converted once.

A store gets them as one value, so that no module below the public method repeats the signature or its checks.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from typing import Literal, Self

import msgspec

from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, OutOfRange, SteelyardError
from steelyard.model import DEFAULT_ALGORITHM, NO_LABELS, Info, Labels, OnProgress, Progress

__all__ = (
    "REF_LIMIT",
    "CommitOptions",
    "IngestOptions",
    "LabelChange",
    "PutOptions",
    "ReadRange",
    "changed_labels",
    "check_range",
    "check_ref",
    "check_size",
    "digest_of_blob",
    "label_keys",
    "looks_like_content",
    "name_of",
    "path_error",
)

REF_LIMIT = 1 << 20
"""The most bytes that a ref may have, in UTF-8."""

_SIZE_LIMIT = 1 << 63

_UNLIKE_A_PATH = re.compile(r"[\x00-\x1f\x7f<>{}|\"]")
_NOT_A_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL}
_SHOWN = 255


class ReadRange(msgspec.Struct, frozen=True):
    """A part of a blob, by the numbers of a slice of `bytes`; for the hook `_read_ranges` of a store.

    Attributes:
        digest: the blob.
        begin: the offset of the first byte; a negative one counts from the end; None is the start.
        end: the offset after the last byte; a negative one counts from the end; None is the end.
    """

    digest: Digest
    begin: int | None = None
    end: int | None = None

    def within(self, size: int) -> tuple[int, int]:
        """Return the offset and the size of the part in a blob of `size` bytes."""
        begin, end, _ = slice(self.begin, self.end).indices(size)
        return begin, max(0, end - begin)


class PutOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a put; `Store.put` documents each of them.

    Attributes:
        size: the size that the source must have, or None.
        expected: the digest that the source must have, or None.
        algorithm: the algorithm of the blob's digest.
        labels: the labels of the blob if it is new.
        ref: the name of the ingest, or None for a put that is not resumable.
        verify: whether the whole ingest is read again before it is published.
        on_progress: called with `Progress`, or None.
    """

    size: int | None = None
    expected: Digest | None = None
    algorithm: Algorithm = DEFAULT_ALGORITHM
    labels: Labels = NO_LABELS
    ref: str | None = None
    verify: bool = False
    on_progress: OnProgress | None = None

    @classmethod
    def parse(
        cls,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
        labels: Mapping[str, str] | None = None,
        ref: str | None = None,
        verify: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Self:
        """Check and convert the arguments of `Store.put`.

        Raises:
            InvalidArgument: a size out of range, an invalid digest or algorithm.
            InvalidLabel: a label is too long.
        """
        check_size(size)
        digest = None if expected is None else Digest.parse(expected)
        chosen = _algorithm(algorithm, digest)
        return cls(
            size=size,
            expected=digest,
            # Not the algorithm of a resumed ingest: the name of a blob must not depend on the program that started the ingest.
            algorithm=DEFAULT_ALGORITHM if chosen is None else chosen,
            labels=Labels(labels),
            ref=ref,
            verify=verify,
            on_progress=on_progress,
        )

    def report(
        self, phase: Literal["wait", "hash", "write", "commit", "verify"], name: str, done: int, total: int | None
    ) -> None:
        """Report progress to the caller, if the caller asked for it."""
        if self.on_progress is not None:
            self.on_progress(Progress(phase=phase, name=name, done=done, total=total))


class IngestOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of an ingest; `Ingester.writer` documents each of them.

    Attributes:
        ref: the name of the ingest.
        size: the announced size, or None.
        expected: the announced digest, or None.
        algorithm: the algorithm of `Writer.digest`; None for that of the ingest, or SHA-256.
    """

    ref: str
    size: int | None = None
    expected: Digest | None = None
    algorithm: Algorithm | None = None

    @classmethod
    def parse(
        cls,
        ref: str,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Self:
        """Check and convert the arguments of `Ingester.writer`.

        Raises:
            InvalidArgument: an invalid ref, size, digest or algorithm.
        """
        check_size(size)
        digest = None if expected is None else Digest.parse(expected)
        return cls(ref=check_ref(ref), size=size, expected=digest, algorithm=_algorithm(algorithm, digest))


class CommitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a commit; `Writer.commit` documents each of them.

    Attributes:
        size: the size that the ingest must have, or None.
        expected: the digest that the ingest must have, or None.
        labels: the labels of the blob if it is new.
        verify: whether all bytes are read again before they are published.
    """

    size: int | None = None
    expected: Digest | None = None
    labels: Labels = NO_LABELS
    verify: bool = False

    @classmethod
    def parse(
        cls,
        *,
        size: int | None = None,
        expected: Digest | str | None = None,
        labels: Mapping[str, str] | None = None,
        verify: bool = False,
    ) -> Self:
        """Check and convert the arguments of `Writer.commit`.

        Raises:
            InvalidArgument: a size out of range, an invalid digest.
            InvalidLabel: a label is too long.
        """
        check_size(size)
        digest = None if expected is None else Digest.parse(expected)
        return cls(size=size, expected=digest, labels=Labels(labels), verify=verify)


class LabelChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the labels of many blobs; `Store.update_many` documents it.

    Attributes:
        labels: the labels that are set.
        keys: the keys of all labels that change: those of `labels`, and those that are removed.
    """

    labels: Labels
    keys: tuple[str, ...]

    @classmethod
    def parse(cls, labels: Mapping[str, str | None]) -> Self:
        """Check and convert the labels of `Store.update_many`.

        Raises:
            InvalidArgument: there are no labels.
            InvalidLabel: a label is too long.
        """
        if not labels:
            raise InvalidArgument("labels: expected at least one, found none")
        Labels({key: value or "" for key, value in labels.items()})
        return cls(
            labels=Labels({key: value for key, value in labels.items() if value is not None}), keys=tuple(labels)
        )

    @property
    def fieldpaths(self) -> tuple[str, ...]:
        """The field paths of `Manager.update`."""
        return tuple(f"labels.{key}" for key in self.keys)


def digest_of_blob(blob: Info | Digest | str) -> Digest:
    """Return the digest of one of the blobs that `Store.update_many` and `Store.delete_many` accept.

    Raises:
        InvalidDigest: the text is not a digest.
    """
    return blob.digest if isinstance(blob, Info) else Digest.parse(blob)


def _algorithm(algorithm: Algorithm | None, expected: Digest | None) -> Algorithm | None:
    if algorithm is not None:
        return Algorithm.parse(algorithm)
    return None if expected is None else expected.algorithm


def check_range(digest: Digest, blob_size: int, offset: int, size: int) -> int:
    """Return how many bytes of a range a blob has.

    Raises:
        InvalidArgument, OutOfRange: see `ReaderAt.read_at`.
    """
    if offset < 0 or size < 0:
        raise InvalidArgument(f"blob {digest}: offset {offset} and size {size} must not be negative")
    if offset > blob_size:
        raise OutOfRange(digest, offset=offset, size=blob_size)
    return min(size, blob_size - offset)


def check_ref(ref: str) -> str:
    """Return the ref if it is valid.

    Raises:
        InvalidArgument: it is empty, longer than `REF_LIMIT`, or not Unicode text (a lone surrogate).
    """
    try:
        size = len(ref.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"ref {ref[:100]!r}: not Unicode text: {error.reason}") from None
    if not 0 < size <= REF_LIMIT:
        raise InvalidArgument(f"ref {ref[:100]!r}: expected 1 to {REF_LIMIT} bytes in UTF-8, found {size}")
    return ref


def check_size(size: int | None) -> int | None:
    """Return the size if it is None or a valid number of bytes.

    Raises:
        InvalidArgument: the size is negative, or does not fit into 63 bits.
    """
    if size is not None and not 0 <= size < _SIZE_LIMIT:
        raise InvalidArgument(f"size {size}: expected a number of bytes from 0 to 2**63 - 1")
    return size


def looks_like_content(text: str) -> bool:
    """Return whether a text that is not the path of a file was probably meant as content."""
    return len(text) > _SHOWN or _UNLIKE_A_PATH.search(text) is not None or not ("/" in text or "." in text)


def name_of(source: object) -> str:
    """Return the name of a source in progress reports: its path if it has one, else the name of its type."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else type(source).__name__


def path_error(source: object, error: Exception) -> Exception:
    """Return the error for a source whose file does not open. It says that a `str` is a path if the text looks like content.

    Stores call this only after the failure, so a put that works pays nothing for it.
    """
    if not isinstance(source, str) or isinstance(error, SteelyardError) or not looks_like_content(source):
        return error
    hint = "a str is the path of a file: pass content as bytes, for example text.encode()"
    if isinstance(error, ValueError):
        return ValueError(f"{error}: {hint}")
    if not isinstance(error, OSError) or error.errno not in _NOT_A_FILE:
        return error
    shown = source if len(source) <= _SHOWN else source[: _SHOWN - 1] + "…"
    return OSError(error.errno, f"{error.strerror}: {hint}", shown)


def label_keys(fieldpaths: tuple[str, ...]) -> list[str] | None:
    """Return the label keys that the field paths of an update name, or None for all labels; see `Manager.update`.

    Raises:
        InvalidArgument: a field path names something that cannot change.
    """
    keys: list[str] = []
    everything = not fieldpaths
    for path in fieldpaths:
        if path == "labels":
            everything = True
        elif path.startswith("labels.") and path != "labels.":
            keys.append(path.removeprefix("labels."))
        else:
            raise InvalidArgument(f"field path {path!r}: only 'labels' and 'labels.<key>' can be updated")
    return None if everything else keys


def changed_labels(old: Labels, new: Mapping[str, str], *fieldpaths: str) -> Labels:
    """Return the labels of a blob after an update; see `Manager.update`.

    Args:
        old: the labels before.
        new: the labels that the update gives.
        fieldpaths: the field paths of the update.

    Raises:
        InvalidArgument: a field path names something that cannot change.
        InvalidLabel: a label is too long.
    """
    keys, given = label_keys(fieldpaths), Labels(new)
    if keys is None:
        return given
    kept = {key: value for key, value in old.items() if key not in keys}
    return Labels(kept | {key: given[key] for key in keys if key in given})
