"""Errors for servers: for stores in another process, and for downloads."""

from __future__ import annotations

from steelyard._digest_errors import SteelyardError


class Unreachable(SteelyardError):
    """A server does not answer, or breaks off an answer: it is not running, has ended, hangs, or is overloaded. Try again later.

    The change that the call requested may or may not have happened. Unlike `Unavailable`, this error does not mean that a writer holds the
    ref.

    Attributes:
        address: the server's address, or the URL of a download without user, password and query.
        reason: the reason, as readable text.
    """

    code = "unreachable"

    def __init__(self, address: str, *, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class ServerRefused(SteelyardError):
    """A server refuses: wrong credentials, no such bucket, no permission, or a server that cannot hold a store.

    Attributes:
        address: the server's address, or the URL of a download without user, password and query.
        reason: the reason and, if there is one, the next step, as readable text.
        server_code: the server's own code, such as ``"NoSuchBucket"``, the HTTP status, or None.
    """

    code = "server_refused"

    def __init__(self, address: str, *, reason: str, server_code: str | None = None) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason
        self.server_code = server_code


class InvalidResponse(SteelyardError):
    """A server's response contradicts the request or itself; no byte of it was stored.

    Attributes:
        url: the URL, without user, password and query.
        expected: the expected value.
        actual: the actual value.
    """

    code = "invalid_response"

    def __init__(self, url: str, *, expected: str, actual: str) -> None:
        super().__init__(f"{url}: expected {expected}, found {actual}")
        self.url = url
        self.expected = expected
        self.actual = actual


class Unsupported(SteelyardError):
    """This store does not support the operation; other stores do.

    Attributes:
        store: the store, as readable text, for example the address of a remote store.
        operation: the unsupported operation.
    """

    code = "unsupported"

    def __init__(self, store: str, *, operation: str) -> None:
        super().__init__(f"{store}: not supported by this store: {operation}")
        self.store = store
        self.operation = operation
