"""Copy each blob to a second store as soon as it is stored.

    python examples/mirror_changes.py STORE SECOND FOLDER

It stores the files of a folder. Meanwhile a task follows the events of the store and copies each new blob. An image name says that
all files are stored: the task ends at its event.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from steelyard import Descriptor, LocalStore, Store, copy
from steelyard.events import Events

DONE = "all-files"


async def mirror(events: Events, source: Store, target: Store) -> None:
    """Copy new blobs until all files are stored."""
    copied = 0
    async for event in events:
        if event.type == "missed":
            # This task was too slow for the buffer: look at the store itself. The last event may be among the missed ones.
            done = bool(await source.images.list(f"name=={DONE}"))
            async for info in source.walk():
                copied += (await copy(source, info.digest, target)).new
            if done:
                break
        elif event.type == "created" and event.digest is not None:
            copied += (await copy(source, event.digest, target)).new
        elif event.name == DONE:
            break
    print(f"{copied} blobs copied")


async def main(root: str, second: str, folder: str) -> None:
    """Store the files, and follow the events beside it."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())  # noqa: ASYNC240  # nothing else runs yet
    async with (
        LocalStore(root) as source,
        LocalStore(second) as target,
        source.events("type==created", f"name=={DONE}", buffer=100) as events,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(mirror, events, source, target)
        async for result in source.put_many(files):
            last = result.result
        await source.images.assign({DONE: Descriptor(digest=last.digest, size=last.size)}, overwrite=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
