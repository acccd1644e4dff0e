"""The errors that a store raises when system calls fail; in a process of its own, because they fail for good.

refused_calls.py ROOT STEP ERRNO CALL[:COMMAND][@FILE]...: prints the error's class, number and path. COMMAND is the call's second
argument; of FILE, a name in the root, only descriptors that are open at the time count.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import msgspec
from support.seccomp import refuse

from steelyard import LocalStore, StorageError


def descriptors(path: str) -> list[int]:
    """Return the descriptors of this process that have the file open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    found = [int(link.name) for link in links if str(link.readlink()) == path]
    assert found, path
    return found


async def main(root: str, step: str, number: int, calls: list[str]) -> None:
    def fail() -> None:
        for text in calls:
            call, _, file = text.partition("@")
            name, _, command = call.partition(":")
            if file:
                for descriptor in descriptors(os.path.join(root, file)):  # noqa: PTH118 - text to compare
                    refuse(name, number, (0, descriptor))
            else:
                refuse(name, number, (1, int(command)) if command else None)

    try:
        if step == "open":
            fail()
        async with LocalStore(root) as store:
            put = await store.put(b"x", labels={"n": "0"})
            info = await store.info(put.digest)
            fail()
            match step:
                case "update":
                    await store.update(msgspec.structs.replace(info, labels={"n": "1"}), "labels")
                case "put":
                    await store.put(b"y", labels={"n": "1"})
                case "writer":
                    async with store.writer("ref"):
                        pass
            print("worked")
    except StorageError as error:
        print(type(error).__name__, error.errno, error.filename)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
