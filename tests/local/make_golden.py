"""Make the golden root of the present format: `python tests/local/make_golden.py`. Run it once per format, never again.

Every later release must read what it made. The bytes differ from run to run (times, SQLite's pages): what is golden is
the root that was committed, not this program.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import anyio

from steelyard import Algorithm, LocalStore

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1"

BLOBS = {
    "empty": b"",
    "wool": b"ten pounds of wool\n",
    "wax": bytes(range(256)) * 64,
}
"""Stored under every algorithm; "wool" has labels."""
LABELS = {"origin": "Cotswolds", "weight/pounds": "10", "note": "ünïcode ⚖"}
INGESTS = {
    "golden/sha256": Algorithm.SHA256,
    "golden/blake3": Algorithm.BLAKE3,
    "réf with ../ and \n": Algorithm.SHA512,
}
PREFIX = b"the first half, "
REST = b"and the second"


async def main() -> None:
    """Fill a new root."""
    async with LocalStore(GOLDEN) as store:
        for algorithm in Algorithm:
            for name, data in BLOBS.items():
                await store.put(data, algorithm=algorithm, labels=LABELS if name == "wool" else None)
        for ref, algorithm in INGESTS.items():
            async with store.writer(ref, size=len(PREFIX + REST), algorithm=algorithm) as writer:
                await writer.write(PREFIX)


if __name__ == "__main__":
    if GOLDEN.exists():
        sys.exit(f"{GOLDEN} exists")
    anyio.run(main)
    for leftover in ("meta.db-wal", "meta.db-shm"):
        (GOLDEN / leftover).unlink(missing_ok=True)
    shutil.rmtree(GOLDEN / "tmp", ignore_errors=True)
    for path in GOLDEN.rglob("*"):  # git keeps no other modes; the test sets them as the store does
        if path.is_file():
            path.chmod(0o644)
