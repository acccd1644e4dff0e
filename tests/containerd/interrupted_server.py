"""Ctrl-C at the steps of a server in the same event loop as its store: `python interrupted_server.py BACKEND SOCKET TRIES`.

The store is one that the server's threads call through the event loop. After each interruption nothing is open, and a new
server takes the address.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import sys
from functools import partial

import anyio
from processes.interrupted import check_process, open_files
from support.interruption import HANG_SECONDS, Place, Steps, each_step, fail_for_unawaited, unraisable

from steelyard import MemoryStore
from steelyard.containerd import RemoteStore
from steelyard.containerd.service import Server


def start(backend: str, path: str, steps: Steps | None = None) -> bool:
    """Serve a store, and use it through its server; return whether Ctrl-C ended it."""

    async def main() -> None:
        if steps is not None:
            steps.listen()
        async with (
            MemoryStore() as store,
            Server(store, path, grace_seconds=0.1),
            RemoteStore(f"unix://{path}") as remote,
        ):
            digest = (await remote.put(b"x" * 300_000)).digest
            assert len(await remote.get(digest)) == 300_000
            async for _info in remote.walk():
                pass

    options = {"use_uvloop": True} if backend == "uvloop" else {}
    try:
        anyio.run(main, backend="asyncio" if backend == "uvloop" else backend, backend_options=options)
    except KeyboardInterrupt:
        return True
    return False


def main() -> None:
    backend, path, tries = sys.argv[1:]
    sys.unraisablehook = unraisable
    fail_for_unawaited()
    start(backend, path)  # what is imported and kept
    gc.collect()
    gc.freeze()
    before = open_files()
    runs = ended = 0
    for steps in each_step(partial(start, backend, path), int(tries)):
        runs += 1
        faulthandler.dump_traceback_later(2 * HANG_SECONDS, exit=True)
        with Place(f"instruction {steps.at}"):
            with steps:
                ended += start(backend, path, steps)
            check_process(before, torn=False)
        faulthandler.cancel_dump_traceback_later()
    start(backend, path)
    print(json.dumps([runs, ended]))


if __name__ == "__main__":
    main()
