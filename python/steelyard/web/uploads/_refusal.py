"""The error that ends a request with a status of the protocol, and the status of each error of a store."""

from __future__ import annotations

from steelyard.errors import (
    Aborted,
    FailedPrecondition,
    LeaseEnded,
    NotFound,
    StorageError,
    StorageFull,
    Unavailable,
    Unreachable,
)

__all__ = ("Refusal", "refusal_of")


class Refusal(Exception):
    """An error as the answer to a request.

    Attributes:
        status: the status code.
        text: a sentence for the client. It contains no internal names of the server: no path, no ref.
        headers: further header fields.
    """

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def refusal_of(error: Exception) -> Refusal:
    """Return the answer to an error of a store."""
    match error:
        case Refusal():
            return error
        case Unavailable():
            return Refusal(423, "another request is writing to this upload", retry_after="1")
        case LeaseEnded() | Aborted():
            return Refusal(410, "the upload was discarded")
        case NotFound():
            return Refusal(404, "there is no such upload")
        case StorageFull():
            return Refusal(507, "no space is left; the acknowledged bytes are kept")
        case StorageError():
            return Refusal(503, "the storage failed; the acknowledged bytes are kept", retry_after="5")
        case Unreachable() | FailedPrecondition():
            return Refusal(503, "the store cannot be used now; the acknowledged bytes are kept", retry_after="5")
    return Refusal(500, "internal error")
