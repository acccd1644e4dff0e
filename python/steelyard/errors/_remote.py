"""The errors of stores that live in another process."""

from __future__ import annotations

from steelyard.errors._store import SteelyardError, Unavailable


class Unreachable(Unavailable):
    """The server of a remote store does not answer: it is not there, went away, or is stuck. Trying again may help.

    What the call was to change may have happened or not. `Unavailable.ref` is empty.

    Attributes:
        address: the server's address.
        reason: what was found in place of an answer.
    """

    code = "unreachable"

    def __init__(self, address: str, *, reason: str) -> None:
        super().__init__("")
        self.args = (f"{address}: {reason}",)
        self.address = address
        self.reason = reason


class Unsupported(SteelyardError):
    """This store has no way to do that; others have.

    Attributes:
        store: which store, for people: the address of a remote one.
        operation: what it cannot do.
    """

    code = "unsupported"

    def __init__(self, store: str, *, operation: str) -> None:
        super().__init__(f"{store}: not supported by this store: {operation}")
        self.store = store
        self.operation = operation
