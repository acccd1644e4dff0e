"""A closed store leaves nothing behind: no descriptor, no complaint of an event loop, and no part in another interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.descriptors import open_files

from steelyard import LocalStore

LIMIT_SECONDS = 60

ITERATORS = {
    "verify_all": "store.verify_all()",
    "walk": "store.walk()",
    "put_many": "store.put_many([b'more %d' % number for number in range(3000)])",
    "update_many": "store.update_many(store.walk(), {'a': 'b'}, concurrency=2)",
    "delete_many": "store.delete_many([info async for info in store.walk()], concurrency=2)",
}


def python(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of its own in `folder`."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    environment = os.environ | {"STEELYARD_ALLOW_DEBUG": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )


@pytest.mark.anyio
async def test_a_closed_writer_that_is_still_referenced_keeps_no_file_of_a_closed_store(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        writer = await store.writer("ref")
        await writer.write(bytes(300_000))
        await writer.aclose()
        committed = await store.writer("other")
        await committed.write(b"bytes")
        info = await committed.commit()
        reader = await store.reader_at(info.digest)
        assert b"bytes" == await reader.read_at(0, 5)
        await reader.aclose()

    assert (300_000, 5) == (writer.offset, committed.offset)
    assert [] == open_files(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("iterator", ITERATORS)
def test_an_iterator_that_is_left_open_when_its_store_closes_says_nothing(
    iterator: str, backend: str, tmp_path: Path
) -> None:
    program = f"""
import anyio, gc
from steelyard import LocalStore
async def main():
    async with LocalStore("store", durability="process-crash") as store:
        async for _ in store.put_many([b"%d" % number for number in range(300)]): pass
        left = {ITERATORS[iterator]}
        await anext(left)
    await anyio.sleep(0.05)
    return left
kept = anyio.run(main, backend="{backend}")
del kept
gc.collect()
print("ended")
"""
    done = python(program, folder=tmp_path)

    assert (0, "ended\n", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the module of subinterpreters has another name there")
@pytest.mark.parametrize("before", ["", "from steelyard import LocalStore"])
def test_a_subinterpreter_gets_an_import_error_and_the_main_one_goes_on(before: str, tmp_path: Path) -> None:
    program = f"""
import warnings
warnings.simplefilter("ignore")
import anyio, _xxsubinterpreters as interpreters
{before}
sub = interpreters.create()
interpreters.run_string(sub, '''
try:
    from steelyard import LocalStore
except ImportError as error:
    print("refused:", error)
''')
interpreters.destroy(sub)
import steelyard
async def main():
    async with steelyard.LocalStore("store") as store:
        print((await store.put(b"x")).new)
anyio.run(main)
"""
    done = python(program, folder=tmp_path)

    assert 0 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr  # Python's own decimal module may warn of its second start
    refused, stored = done.stdout.splitlines()
    assert refused.startswith("refused:")
    assert "True" == stored
