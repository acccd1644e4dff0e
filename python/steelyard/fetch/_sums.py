"""Files of digests, as sha256sum and the BSD programs write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, InvalidDigest

__all__ = ("Sums",)

_GNU = re.compile(r"(\\?)([0-9a-fA-F]{64,128}) [ *](.+)")
_BSD = re.compile(r"(\\?)(SHA(?:256|384|512)|BLAKE3) \((.+)\) = ([0-9a-fA-F]+)")
_BY_LENGTH = {64: Algorithm.SHA256, 96: Algorithm.SHA384, 128: Algorithm.SHA512}
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class Sums:
    """The digests of files, by their names.

    Args:
        by_name: the digest of each name.
    """

    def __init__(self, by_name: Mapping[str, Digest]) -> None:
        self._digests = dict(by_name)
        self._by_last: dict[str, list[str]] = {}
        for name in self._digests:
            self._by_last.setdefault(PurePosixPath(name).name, []).append(name)

    @classmethod
    def parse(cls, text: str) -> Sums:
        r"""Parse the content of a file such as ``SHA256SUMS``.

        Lines are ``DIGEST  NAME`` and ``DIGEST *NAME``, as sha256sum, sha512sum and b3sum write them, or ``SHA256 (NAME) = DIGEST``.
        The algorithm of the first form follows from the length; 64 digits are SHA-256. Other lines, such as comments and a
        signature, are skipped. If a name has digests of several algorithms, the first counts.

        ```pycon
        >>> sums = Sums.parse("9d0cc67c715c9b36a8ef37f0abab96b11fb2b79f32ac840adb13b28f4b487b13  wool.txt\n")
        >>> str(sums.digest_of("https://example.org/files/wool.txt"))
        'sha256:9d0cc67c715c9b36a8ef37f0abab96b11fb2b79f32ac840adb13b28f4b487b13'

        ```

        Raises:
            InvalidArgument: there is no digest in it, or a name has two of one algorithm.
        """
        digests: dict[str, Digest] = {}
        for line in text.split("\n"):
            entry = _entry(line.removesuffix("\r"))
            if entry is None:
                continue
            name, digest = entry
            held = digests.setdefault(name, digest)
            if held.algorithm == digest.algorithm and held != digest:
                raise InvalidArgument(f"sums: expected one digest of {name[:100]!r}, found {held} and {digest}")
        if not digests:
            raise InvalidArgument("sums: expected lines of a digest and a name, found none")
        return cls(digests)

    def digest_of(self, url: str) -> Digest | None:
        """Return the digest for a URL or path, or None.

        A name matches if the path ends with it, compared in whole parts. The longest matching name counts. The path of a URL is decoded
        first (``%20``); another path is not.

        Raises:
            InvalidArgument: the URL is not valid.
        """
        path = _path_in(url) if "://" in url else url
        parts = [part for part in path.split("/") if part not in {"", "."}]
        if not parts:
            return None
        fitting = [name for name in self._by_last.get(parts[-1], ()) if _ends_with(parts, name)]
        return self._digests[max(fitting, key=lambda name: len(_parts(name)))] if fitting else None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of the file."""
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


def _path_in(url: str) -> str:
    try:
        return unquote(urlsplit(url).path)
    except ValueError:
        raise InvalidArgument("URL: expected a valid host") from None  # it may have a password


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in {"", "."}]


def _ends_with(parts: list[str], name: str) -> bool:
    last = _parts(name)
    return parts[-len(last) :] == last


def _entry(line: str) -> tuple[str, Digest] | None:
    """Return name and digest of a line, or None."""
    if match := _GNU.fullmatch(line):
        escaped, encoded, name = match.groups()
        algorithm = _BY_LENGTH.get(len(encoded))
    elif match := _BSD.fullmatch(line):
        escaped, word, name, encoded = match.groups()
        algorithm = Algorithm(word.lower())
    else:
        return None
    if algorithm is None:
        return None
    if escaped:
        name = re.sub(r"\\[\\nr]", lambda found: _ESCAPES[found[0]], name)
    try:
        return name, Digest.parse(f"{algorithm}:{encoded.lower()}")
    except InvalidDigest:
        return None
