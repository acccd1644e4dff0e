"""The results for the blobs of an import: packed, because there may be a million, and equal to unpacked ones."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest

from steelyard import Digest
from steelyard.images.importing._account import Account, BlobStatus, ImportedBlob
from steelyard.images.importing._hashes import Hashes


def digest_of(number: int, algorithm: str = "sha256") -> Digest:
    return Digest.parse(f"{algorithm}:{hashlib.new(algorithm, b'%d' % number).hexdigest()}")


def expected(rows: list[tuple[Digest, int, BlobStatus, float]], referenced: set[Digest]) -> list[ImportedBlob]:
    first: dict[Digest, ImportedBlob] = {}
    for digest, size, status, seconds in rows:
        needed = digest in referenced
        plain = ImportedBlob(digest=digest, size=size, status=status, referenced=needed, seconds=seconds)
        first.setdefault(digest, plain)
    return [first[digest] for digest in sorted(first)]


def test_blobs_come_in_the_order_of_their_digests_and_each_once() -> None:
    rows: list[tuple[Digest, int, BlobStatus, float]] = []
    for number in range(1000):
        algorithm = ("sha256", "sha512", "sha384")[number % 3]
        rows.append((digest_of(number, algorithm), number << 40, "new", number / 1000))
        if number % 7 == 0:
            rows.append((digest_of(number, algorithm), number, "skipped", 0.0))
    rows.append((digest_of(-1), 2**63 - 1, "present", 0.0))
    referenced = {digest for digest, *_ in rows[::5]}
    plain = expected(rows, referenced)
    account, again = Account(), Account()
    for row in rows:
        account.add(*row)
        again.add(*row)
    blobs = account.close(referenced)

    assert plain == list(blobs)
    assert len(plain) == len(blobs)
    assert [plain[0], plain[500], plain[-1]] == [blobs[0], blobs[500], blobs[-1]]
    assert tuple(plain[3:900:7]) == blobs[3:900:7]
    assert plain[-1] in blobs
    assert blobs == again.close(referenced)
    assert 1 == len({blobs, blobs})
    assert [] == list(account.close(set()))
    with pytest.raises(IndexError):
        blobs[len(plain)]


@pytest.mark.slow
def test_a_blob_takes_few_bytes() -> None:
    """A million blobs are to fit into 150 MiB together with the entries of their archive."""
    count = 50_000
    digests = [digest_of(number) for number in range(count)]
    tracemalloc.start()
    try:
        account, hashes = Account(), Hashes()
        for number, digest in enumerate(digests):
            account.add(digest, number, "new", 0.25)
            hashes.put(number, None, "plain")
        blobs = account.close(set())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == len(blobs)
    assert most <= (2 << 20) + 64 * count
