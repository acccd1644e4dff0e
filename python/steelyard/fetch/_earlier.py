"""The ingests that earlier fetches left.

The ref of an ingest has two parts: its **base**, which is made from the URL or given by the caller, and its **proof**, which identifies
the whole that its bytes belong to: the digest of the whole, or the validator of one version. So an ingest needs no record of its version,
and never has bytes of two versions. The proof is as durable as the ingest itself.
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
"""The proof of an ingest that cannot be resumed. Its fetch discards it, or a later fetch after a crash."""

# A base may be any text, so the last of these words begins the proof.
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
    """Return whether a proof is a validator, or a digest of the algorithm."""
    if validator_of_proof(proof) is not None:
        return True
    try:
        return Digest.parse(proof).algorithm == algorithm
    except InvalidDigest:  # the ref of another program, or `ONCE`
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
        """List the ingests of a store. All fetches of a call use one list."""
        return cls(await store.list_statuses())

    def get(self, ref: str) -> Status | None:
        """Return an ingest."""
        return self._by_ref.get(ref)

    def newest(self, base: str, algorithm: Algorithm) -> tuple[str, Status] | None:
        """Return the proof and status of the latest ingest of a base that can be resumed for a digest of the algorithm, or None."""
        found = [(proof, status) for proof, status in self._by_base.get(base, ()) if _serves(proof, algorithm)]
        return max(found, key=lambda one: one[1].updated_at, default=None)

    def useless(self, base: str) -> list[str]:
        """Return the refs of the ingests of a base that cannot be resumed."""
        return [status.ref for proof, status in self._by_base.get(base, ()) if proof.startswith(ONCE)]
