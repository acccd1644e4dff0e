"""A program that gives work to other processes, as users do: `python start_methods.py METHOD BACKEND ROOT`; prints what came of it.

`METHOD` is a start method of `multiprocessing`. It is a script, because `spawn` and `forkserver` run the main module again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import anyio.to_process
import anyio.to_thread

from steelyard import FailedPrecondition, LocalStore

LIMIT_SECONDS = 60
HEAD, REST = b"a" * 1_000_000, b"b" * 300_000

Answers = Any
"""A queue; its class is another for each start method."""

inherited: dict[str, Any] = {}
"""Objects that are open in the parent at a fork, by name."""

USES: dict[str, Callable[[Any], object]] = {
    "store": lambda store: store.get("sha256:" + "0" * 64),
    "writer": lambda writer: writer.write(b"of the child"),
    "reader": lambda reader: reader.read_at(0, 1),
    "stream": anext,
    "names": lambda names: names.list(),
    "walk": anext,
    "verification": anext,
    "puts": anext,
}


def put_own(root: str, data: bytes) -> int:
    """Put a blob from a store that this process opens; return the number of the process."""

    async def main() -> int:
        async with LocalStore(root) as store:
            assert (await store.put(data)).new
            assert await store.get((await store.put(b"before")).digest) == b"before"
        return os.getpid()

    return anyio.run(main)


def put_and_tell(root: str, data: bytes, answers: Answers) -> None:
    answers.put(put_own(root, data))


def use_inherited(answers: Answers) -> None:
    """Say for each object of the parent what a use of it gives."""

    async def use(name: str) -> str:
        try:
            made = USES[name](inherited[name])
            if isinstance(made, Awaitable):
                await made
        except FailedPrecondition:
            return "refused"
        except Exception as error:  # noqa: BLE001  # it is the answer
            return repr(error)
        return "used"

    answers.put({name: anyio.run(use, name) for name in inherited})


def name_of(thing: object) -> str:
    """Return what it is; called in another process, if it could be passed there."""
    return type(thing).__name__


async def in_thread(function: Callable[..., Any], *args: object) -> Any:
    return await anyio.to_thread.run_sync(function, *args)


async def refusal(call: Callable[[], Awaitable[object]]) -> str:
    try:
        return f"passed: {await call()}"
    except TypeError as error:
        return f"TypeError: {error}"


async def process(method: str, target: Callable[..., None], *args: object) -> Any:
    """Start a process and return its answer."""
    context: Any = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    started = context.Process(target=target, args=(*args, answers))
    await in_thread(started.start)
    answer = await in_thread(answers.get)
    await in_thread(started.join, LIMIT_SECONDS)
    assert started.exitcode == 0, started.exitcode
    answers.close()
    return answer


async def give(method: str, root: str) -> dict[str, Any]:
    """Give work to processes of each kind, and try to give them what is open here."""
    context: Any = multiprocessing.get_context(method)
    found: dict[str, Any] = {}
    pids = [await process(method, put_and_tell, root, b"of a process")]
    if method == "fork":
        found["inherited"] = await process(method, use_inherited)
    else:
        for name, thing in inherited.items():
            made = context.Process(target=name_of, args=(thing,))
            found[f"argument {name}"] = await refusal(lambda made=made: in_thread(made.start))  # type: ignore[misc]
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        # The first call forks: in a thread without an event loop, as a child of trio's own thread seems to run that loop.
        submitted = await in_thread(pool.submit, put_own, root, b"of a pool")
        pids.append(await in_thread(submitted.result, LIMIT_SECONDS))
        for name, thing in inherited.items():
            submitted = await in_thread(pool.submit, name_of, thing)
            found[f"pool {name}"] = await refusal(lambda it=submitted: in_thread(it.result, LIMIT_SECONDS))  # type: ignore[misc]
    pids.append(await anyio.to_process.run_sync(put_own, root, b"of anyio"))
    for name, thing in inherited.items():
        found[f"anyio {name}"] = await refusal(lambda thing=thing: anyio.to_process.run_sync(name_of, thing))  # type: ignore[misc]
    found["processes"] = len({os.getpid(), *pids})
    return found


async def main(method: str, root: str) -> None:
    async with LocalStore(root) as store, store.writer("ref") as writer:
        stored = await store.put(b"before", labels={"a": "b"})
        await store.put(b"another")
        await writer.write(HEAD)
        reader = await store.reader_at(stored.digest)
        iterators: list[AsyncGenerator[Any, None]] = [store.walk(), store.verify_all(), store.put_many([b"more"] * 50)]
        for iterator in iterators:
            await anext(iterator)
        inherited.update(store=store, writer=writer, reader=reader, stream=reader.stream(), names=store.images)
        inherited.update(zip(("walk", "verification", "puts"), iterators, strict=True))

        found = await give(method, root)

        await writer.write(REST)
        committed = await writer.commit(labels={"of": "parent"})
        assert await store.get(committed.digest) == HEAD + REST
        assert await reader.read_at(0, 6) == b"before"
        assert [piece async for piece in inherited["stream"]] == [b"before"]
        assert [each async for each in iterators[0]]
        for iterator in iterators[1:]:
            async for _ in iterator:
                pass
        await reader.aclose()
        found["damaged"] = [str(each.error) async for each in store.verify_all() if each.error]
        found["blobs"] = sorted([len(await store.get(each.digest)) async for each in store.walk()])
        found["notes"] = store.notes()
    print(json.dumps(found))


if __name__ == "__main__":
    how, backend, where = sys.argv[1:]
    if how == "forkserver":
        multiprocessing.set_forkserver_preload(["steelyard"])
    anyio.run(main, how, str(Path(where)), backend=backend)
