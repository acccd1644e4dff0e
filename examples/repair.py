"""Read every blob of a store, and replace damaged blobs by the copies of a second store.

python examples/repair.py STORE SECOND
"""

from __future__ import annotations

import sys

import anyio

from steelyard import LocalStore, NotFound, copy


async def main(root: str, second: str) -> int:
    """Verify, repair, and return 1 when something could not be repaired."""
    lost = 0
    async with LocalStore(root) as store, LocalStore(second, read_only=True) as good:
        async for checked in store.verify_all(concurrency=2):
            if checked.error is None:
                continue
            # The damaged copy is in quarantine by now, so the name is free; the copy is verified on its way.
            try:
                await copy(good, checked.digest, store)
                print(f"{checked.digest}: repaired")
            except NotFound:
                lost += 1
                print(f"{checked.digest}: damaged, and not in {second}")
    return 1 if lost else 0


if __name__ == "__main__":
    store, other = sys.argv[1:3]
    sys.exit(anyio.run(main, store, other))
