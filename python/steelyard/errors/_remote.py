"""The errors of stores that live in another process."""

from __future__ import annotations

from steelyard._digest_errors import SteelyardError


class Unreachable(SteelyardError):
    """The server of a remote store does not answer: it does not run, it ended, or it hangs. Try again later.

    The change of the call may have happened or not. No writer holds the ref, so this is no `Unavailable`.

    Attributes:
        address: the server's address.
        reason: the reason, as readable text.
    """

    code = "unreachable"

    def __init__(self, address: str, *, reason: str) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason


class ServerRefused(SteelyardError):
    """The server of a remote store refuses: wrong credentials, no such bucket, no permission, or a server that cannot keep a store.

    Attributes:
        address: the server's address.
        reason: the reason and, where there is one, the next step, as readable text.
        server_code: the server's own code, such as ``"NoSuchBucket"``, or None.
    """

    code = "server_refused"

    def __init__(self, address: str, *, reason: str, server_code: str | None = None) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason
        self.server_code = server_code


class Unsupported(SteelyardError):
    """This store does not support the operation; other stores do.

    Attributes:
        store: the store, as readable text: the address of a remote store.
        operation: the unsupported operation.
    """

    code = "unsupported"

    def __init__(self, store: str, *, operation: str) -> None:
        super().__init__(f"{store}: not supported by this store: {operation}")
        self.store = store
        self.operation = operation
