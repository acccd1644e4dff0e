"""Import a directory tree on trio: each file becomes a blob, and a manifest of names and digests becomes another one.

Run it again after a crash, after Ctrl-C or after a change of some files: stored blobs are not written again.

    python examples/import_tree.py STORE DIRECTORY
"""

from __future__ import annotations

import sys
from contextlib import aclosing
from pathlib import Path

import anyio
import msgspec

from steelyard import LocalStore, Store


async def import_tree(store: Store, directory: Path, files: list[Path]) -> bool:
    """Store the files and a manifest of them; return whether all went well."""
    manifest: dict[str, str] = {}
    new = failed = 0
    # `put_many` reads only as many sources as it has in work, and gives results as they come, in any order.
    async with aclosing(store.put_many(files, concurrency=16, errors="yield")) as results:
        async for done in results:
            name = str(files[done.index].relative_to(directory))
            if done.error is not None:
                failed += 1
                print(f"{name}: {done.error}", file=sys.stderr)
            else:
                manifest[name] = str(done.result.digest)
                new += done.result.new

    document = msgspec.json.encode(dict(sorted(manifest.items())))
    stored = await store.put(document, labels={"example/kind": "manifest", "example/directory": str(directory)})
    print(f"{len(manifest)} files, {new} of them new, {failed} failed")
    print(f"manifest {stored.digest}")
    return failed == 0


async def main(root: str, directory: str, files: list[Path]) -> int:
    """Open the store, import, and return the exit code."""
    async with LocalStore(root) as store:
        return 0 if await import_tree(store, Path(directory), files) else 1


if __name__ == "__main__":
    root, directory = sys.argv[1:3]
    found = [path for path in sorted(Path(directory).rglob("*")) if path.is_file() and not path.is_symlink()]
    sys.exit(anyio.run(main, root, directory, found, backend="trio"))
