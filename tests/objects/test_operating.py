"""Looking after a store in a bucket: `doctor`, `stat`, `quarantine` and `abort --uploads`, and the calls behind them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import to_thread

from steelyard.cli.doctor_objects import _clock_check
from steelyard.errors import DataCorrupt, NotFound, ServerRefused, Unsupported
from steelyard.local import LocalStore
from steelyard.objects import ObjectAddress, ObjectStore
from steelyard.objects._layout import blob_key
from steelyard.objects._upkeep import _ahead
from steelyard.testing._values import digest_of

from .lying import lying_server
from .s3 import request

pytestmark = [pytest.mark.slow, pytest.mark.anyio, pytest.mark.usefixtures("keys")]


@pytest.fixture
def anyio_backend() -> str:
    """Give one event loop: commands choose their own."""
    return "asyncio"


@pytest.fixture
async def store(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ObjectStore]:
    """Give a store with the spool that commands use."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("STEELYARD_STORE", address)
    async with ObjectStore(address) as store:
        yield store


async def steelyard(*words: str, code: int = 0) -> str:
    """Run a command, and return its output."""
    program = "import sys; from steelyard.cli import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True)

    done = await to_thread.run_sync(run)
    assert code == done.returncode, done.stderr
    return done.stdout


async def document(*words: str, code: int = 0) -> Any:
    return msgspec.json.decode(await steelyard(*words, "--format", "json", code=code))


async def damaged(store: ObjectStore) -> None:
    """Have a blob damaged by another program, and moved aside."""
    digest = (await store.put(b"data")).digest
    address = ObjectAddress.parse(store.address)
    assert address.endpoint is not None
    path = f"/{address.bucket}/{address.prefix}/{blob_key(digest)}"
    await to_thread.run_sync(lambda: request("PUT", str(address.endpoint), path, data=b"other"))
    with pytest.raises(DataCorrupt):
        await store.verify(digest)


async def test_doctor_shows_the_server_its_check_and_what_is_unfinished(store: ObjectStore) -> None:
    await store._require().requests.begin(blob_key(digest_of(b"one")))
    await damaged(store)
    async with store.writer("half") as writer:
        await writer.write(b"ten")

    found = await document("doctor")

    assert found["ok"]
    assert (store.address, str(store.spool)) == (found["store"]["address"], found["store"]["spool"])
    assert ("VERSITYGW", 0) == (found["store"]["server"], found["store"]["clock_ahead"])
    checks = {check["name"]: check["message"] for check in found["checks"]}
    assert ["server", "clock", "quarantine", "ingests", "uploads"] == list(checks)
    assert "one of 2 racing writers created each of 1 object" in checks["server"]
    assert "1 damaged, 5 bytes" == checks["quarantine"]
    assert "1 unfinished, 0 without a change for a day" == checks["ingests"]
    assert "1 unfinished, 0 abandoned, 1 perhaps in use by other machines" == checks["uploads"]
    text = await steelyard("doctor")
    assert "server      VERSITYGW" in text
    assert f"ok    uploads: {checks['uploads']}" in text


async def test_get_keeps_blobs_in_the_cache_of_the_environment(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = (await store.put(b"data")).digest
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "blobs"))
    monkeypatch.setenv("STEELYARD_CACHE_BYTES", "1MiB")

    assert "data" == await steelyard("get", str(digest))
    async with LocalStore(tmp_path / "blobs" / "cache") as cache:
        assert b"data" == await cache.get(digest)

    monkeypatch.setenv("STEELYARD_CACHE_BYTES", "much")
    await steelyard("get", str(digest), code=2)


async def test_stat_counts_what_is_in_the_bucket_and_in_the_spool(store: ObjectStore) -> None:
    await damaged(store)
    for data in (b"ten", b"pounds"):
        await store.put(data)
    async with store.writer("half") as writer:
        await writer.write(b"wool")

    found = await document("stat")

    expected = {
        "blobs": 2,
        "blob_bytes": 9,
        "ingests": 1,
        "ingest_bytes": 4,
        "quarantined": 1,
        "quarantined_bytes": 5,
    }
    assert {"type": "stat", "store": store.address, **expected} == found
    assert expected == msgspec.to_builtins(await store.stats())


async def test_quarantine_is_listed_and_emptied(store: ObjectStore) -> None:
    await damaged(store)
    (copy,) = await store.quarantined()
    assert (digest_of(b"data"), 5) == (copy.digest, copy.size)

    (listed,) = (await document("quarantine"))["quarantined"]
    (removed,) = (await document("quarantine", "--empty"))["quarantined"]

    assert (copy.key, False) == (listed["path"], listed["removed"])
    assert (copy.key, True) == (removed["path"], removed["removed"])
    assert [] == await store.quarantined()
    assert [] == await store.empty_quarantine()


async def test_abandoned_uploads_are_discarded(store: ObjectStore, versitygw_root: Path) -> None:
    digests = [digest_of(b"old"), digest_of(b"young")]
    old, young = [await store._require().requests.begin(blob_key(digest)) for digest in digests]
    (directory,) = (path for path in (versitygw_root / "bucket").rglob(old))
    then = time.time() - 8 * 86400
    os.utime(directory, (then, then))

    (check,) = (check for check in (await document("doctor"))["checks"] if check["name"] == "uploads")
    assert ("2 unfinished, 1 abandoned, 1 perhaps in use by other machines", "steelyard abort --uploads") == (
        check["message"],
        check["next"],
    )
    (planned,) = (await document("abort", "--uploads", "--dry-run"))["aborted"]
    (done,) = (await document("abort", "--uploads"))["aborted"]

    assert (str(digests[0]), old, True) == (planned["digest"], planned["id"], planned["dry_run"])
    assert (old, False) == (done["id"], done["dry_run"])
    assert [young] == [each.id async for each in store.uploads()]
    await steelyard("abort", code=2)
    await steelyard("abort", "half", "--uploads", code=2)


async def test_commands_that_need_a_disk_or_a_bucket_say_so(store: ObjectStore, tmp_path: Path) -> None:
    await steelyard("doctor", "--rebuild", code=2)
    await steelyard("put", "--store", str(tmp_path / "local"), os.devnull)
    await steelyard("abort", "--store", str(tmp_path / "local"), "--uploads", code=2)
    async with ObjectStore(store.address, read_only=True) as other:
        with pytest.raises(Unsupported):
            await other.empty_quarantine()


async def test_doctor_of_a_store_that_does_not_exist_creates_none(store: ObjectStore) -> None:
    absent = store.address.replace("?", "-absent?")

    found = await document("doctor", "--store", absent, code=3)

    assert [("server", True), ("store", False)] == [(check["name"], check["ok"]) for check in found["checks"]]
    assert "not checked from this machine" in found["checks"][0]["message"]
    await document("doctor", "--store", absent, code=3)


@pytest.mark.parametrize(
    "command",
    [
        ["gc", "--grace", "0s"],
        ["verify", "--all"],
        ["quarantine", "--empty"],
        ["abort", "--uploads"],
        ["rm", "0" * 64],
        ["label", "0" * 64, "key=value"],
        ["images", "rm", "name"],
        ["leases", "create", "--expires", "1h"],
    ],
    ids=" ".join,
)
async def test_a_command_that_stores_nothing_creates_no_store(store: ObjectStore, command: list[str]) -> None:
    absent = store.address.replace("?", "-absent?")

    output = await document(*command, "--store", absent, code=3)

    assert ["not_found"] == [error["code"] for error in output["errors"]]
    with pytest.raises(NotFound, match="store"):
        await ObjectStore(absent, read_only=True).aopen()


async def test_doctor_shows_why_a_server_was_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with lying_server() as endpoint:
        address = f"s3://bucket/p?endpoint={endpoint}"
        store = ObjectStore(address)
        with pytest.raises(ServerRefused) as refused:
            await store.aopen()
        check = await store.check()
        assert check is not None
        assert refused.value.reason == check.fault
        status, _, _ = request("PUT", endpoint, "/bucket/p/steelyard.json", data=b'{"format": 1, "id": "1"}')
        assert 200 == status

        found = await document("doctor", "--store", address, code=1)

        (wrong,) = (check for check in found["checks"] if not check["ok"] and check["name"] == "server")
        assert wrong["message"].startswith("8 of 8 writers created the same object")
        with pytest.raises(ServerRefused):
            await store.aopen()


@pytest.mark.parametrize(
    ("server", "before", "after", "expected"),
    [
        (100, 100.2, 100.4, 0),
        (100, 100.9, 101.3, 0),
        (105, 100.2, 100.9, 4),
        (100, 107.5, 107.9, -6),
        (100, 99.5, 100, 0),
    ],
)
def test_clocks_are_compared_to_the_second(server: int, before: float, after: float, expected: int) -> None:
    assert expected == _ahead(server, before, after)


@pytest.mark.parametrize(
    ("ahead", "ok", "message"),
    [
        (None, True, "the server does not say its time"),
        (-60, True, "60 s from this machine's"),
        (61, False, "the server's is 61 s ahead of this machine's"),
        (-900, False, "the server's is 900 s behind this machine's"),
    ],
)
def test_a_clock_that_differs_by_more_than_a_minute_is_wrong(ahead: int | None, ok: bool, message: str) -> None:
    check = _clock_check(ahead)

    assert (ok, message) == (check.ok, check.message)
