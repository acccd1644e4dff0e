"""The ingests that earlier fetches left.

The ref of an ingest has two parts: its **base**, which is made of the URL or given by the caller, and its **proof**, which says
what its bytes are a part of: the digest of the whole, or the validator of one version. So an ingest never has to record which version
it holds, and bytes of two versions are never in one ingest. The proof is as durable as the ingest itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from steelyard.content import Store
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidDigest
from steelyard.model import Status

__all__ = ("ONCE", "EarlierIngests", "joined", "proof_of_validator", "validator_of_proof")

ONCE = "once:"
"""The proof of an ingest whose bytes prove nothing: its fetch discards it, and a later one does after a crash."""

# The last of such words begins the proof: a base may be any text.
_REF = re.compile(r"(.*) ((?:etag|modified|once|sha256|sha384|sha512|blake3):[^\n]*)", re.DOTALL)


def joined(base: str, proof: str) -> str:
    """Return the ref of an ingest."""
    return f"{base} {proof}"


def proof_of_validator(validator: str) -> str:
    """Return the proof of a version with that strong validator."""
    return f"{'etag' if validator.startswith(chr(34)) else 'modified'}:{validator}"


def validator_of_proof(proof: str) -> str | None:
    """Return the validator in a proof, or None if it is a digest."""
    kind, _, value = proof.partition(":")
    return value if kind in {"etag", "modified"} else None


def _serves(proof: str, algorithm: Algorithm) -> bool:
    """Whether a proof is a validator, or a digest by that algorithm."""
    if validator_of_proof(proof) is not None:
        return True
    try:
        return Digest.parse(proof).algorithm == algorithm
    except InvalidDigest:  # that of another program, or `ONCE`
        return False


class EarlierIngests:
    """The ingests of a store, as they were when a call began."""

    def __init__(self, statuses: Iterable[Status]) -> None:
        self._by_ref: dict[str, Status] = {}
        self._by_base: dict[str, list[tuple[str, Status]]] = defaultdict(list)
        for status in statuses:
            self._by_ref[status.ref] = status
            if match := _REF.fullmatch(status.ref):
                self._by_base[match[1]].append((match[2], status))

    @classmethod
    async def by(cls, store: Store) -> EarlierIngests:
        """Return the ingests of a store. One list serves all fetches of a call."""
        return cls(await store.list_statuses())

    def get(self, ref: str) -> Status | None:
        """Return an ingest."""
        return self._by_ref.get(ref)

    def newest(self, base: str, algorithm: Algorithm) -> tuple[str, Status] | None:
        """Return proof and status of the ingest of that base that was last changed, if it can be resumed for a digest by that algorithm."""
        found = [(proof, status) for proof, status in self._by_base.get(base, ()) if _serves(proof, algorithm)]
        return max(found, key=lambda one: one[1].updated_at, default=None)

    def useless(self, base: str) -> list[str]:
        """Return the refs of ingests of that base that cannot be resumed."""
        return [status.ref for proof, status in self._by_base.get(base, ()) if proof.startswith(ONCE)]
