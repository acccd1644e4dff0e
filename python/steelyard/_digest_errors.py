"""The errors that a `Digest` raises, and their bases. `steelyard.errors` exports them. They have a module of their own because other errors contain digests."""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = ("InvalidArgument", "InvalidDigest", "InvalidDigestLength", "SteelyardError", "UnsupportedAlgorithm")


class SteelyardError(Exception):
    """The base class of all errors of this package."""

    code: ClassVar[str] = "unknown"
    """A stable identifier of the error, for logs and wire formats."""

    def __init__(self, message: str) -> None:
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled by their `args`, which hold the message, but these are made from keyword fields.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[SteelyardError], args: tuple[Any, ...], fields: dict[str, Any]) -> SteelyardError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class InvalidArgument(SteelyardError, ValueError):
    """The call can never succeed with these arguments; nothing was changed."""

    code = "invalid_argument"


class InvalidDigest(InvalidArgument):
    """The text is not a digest of the form ``algorithm:encoded``.

    Attributes:
        text: the text, shortened to at most 200 characters.
        reason: the reason.
    """

    code = "invalid_digest"

    def __init__(self, text: str, *, reason: str = "expected algorithm:encoded in lower-case hex") -> None:
        self.text: str = text if len(text) <= 200 else text[:199] + "…"
        self.reason = reason
        super().__init__(f"digest {self.text!r}: {reason}")


class InvalidDigestLength(InvalidDigest):
    """The encoded part has the wrong length for its algorithm.

    Attributes:
        expected: the number of hex digits of that algorithm.
        actual: the number of hex digits found.
    """

    code = "invalid_digest_length"

    def __init__(self, text: str, *, expected: int, actual: int) -> None:
        super().__init__(text, reason=f"expected {expected} hex digits, found {actual}")
        self.expected = expected
        self.actual = actual


class UnsupportedAlgorithm(InvalidDigest):
    """The digest or name is well-formed, but this store does not compute that algorithm.

    Attributes:
        algorithm: its name.
    """

    code = "unsupported_algorithm"

    def __init__(self, text: str, *, algorithm: str) -> None:
        reason = f"unsupported algorithm {algorithm[:64]!r}; sha256, sha384, sha512 and blake3 are known"
        super().__init__(text, reason=reason)
        self.algorithm = algorithm
