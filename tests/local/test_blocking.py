"""The blocking core of `LocalStore`: the same store without an event loop, for threads and for programs that have none."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from steelyard import (
    AlreadyExists,
    DataCorrupt,
    Descriptor,
    Digest,
    FailedPrecondition,
    Info,
    InvalidArgument,
    LocalStore,
    NotFound,
    Unavailable,
)
from steelyard.errors import InvalidFilter, InvalidLabel, OutOfRange
from steelyard.local.blocking import BlobPages, BlockingStore, OpenOptions
from steelyard.options import IngestOptions


def digest_of(data: bytes) -> Digest:
    return Digest.parse(f"sha256:{hashlib.sha256(data).hexdigest()}")


def keep(store: BlockingStore, data: bytes, **labels: str) -> Digest:
    ingest = store.ingest(IngestOptions.parse("ref"))
    ingest.write(data)
    return ingest.commit(len(data), digest_of(data), labels).digest


def prepared(pages: BlobPages) -> list[Info]:
    end = time.monotonic() + 30
    while (page := pages.ready()) is None:
        assert time.monotonic() < end
        time.sleep(0.001)
    return page


@pytest.fixture
def options(tmp_path: Path) -> OpenOptions:
    return OpenOptions.parse(tmp_path / "store", durability="process-crash")


def test_a_blob_is_written_found_listed_read_and_deleted(options: OpenOptions) -> None:
    with BlockingStore.open(options) as store:
        digest, other = keep(store, b"data", kind="test"), keep(store, b"other")
        assert {"kind": "test"} == dict(store.info(str(digest)).labels)
        assert {digest, other} == set(store.infos([digest, str(other), digest_of(b"nothing")]))
        assert sorted([digest, other]) == [info.digest for page in store.pages() for info in page]
        assert [digest] == [info.digest for page in store.pages("labels.kind==test") for info in page]
        blob = store.blob(Descriptor(digest=digest, size=4))
        assert (b"ata", b"") == (blob.read_at(1, 10), blob.read_at(4, 1))
        assert (b"data", None) == blob.read()
        with pytest.raises(OutOfRange):
            blob.read_at(5, 1)
        with pytest.raises(DataCorrupt):
            store.blob(Descriptor(digest=digest, size=5))
        blob.close()
        store.delete(digest)
        with pytest.raises(NotFound):
            store.info(digest)
        assert (1, 5) == ((stats := store.stats()).blobs, stats.blob_bytes)


def test_an_ingest_is_resumed_cut_and_aborted(options: OpenOptions) -> None:
    freed: list[str] = []
    with BlockingStore.open(options, freed.append) as store:
        ingest = store.ingest(IngestOptions.parse("ref", size=6))
        ingest.write(b"datadata")
        with pytest.raises(Unavailable):
            store.ingest(IngestOptions.parse("ref"))
        ingest.close()
        ingest = store.ingest(IngestOptions.parse("ref"))
        ingest.truncate(4)
        assert (4, digest_of(b"data")) == (ingest.offset, ingest.digest())
        ingest.sync()
        assert [6] == [status.total for status in store.statuses("ref==ref")]
        assert store.status("ref") == ingest.status()
        store.abort("ref")
        ingest.close()
        with pytest.raises(NotFound):
            store.status("ref")
        assert ["ref"] * 3 == freed
        keep(store, b"data")
        with pytest.raises(AlreadyExists):
            store.ingest(IngestOptions.parse("again", expected=digest_of(b"data")))


def test_wrong_arguments_are_refused(options: OpenOptions) -> None:
    for wrong in ({"size": -1}, {"size": 1 << 63}, {"expected": "no"}, {"algorithm": "no"}):
        with pytest.raises(InvalidArgument):
            IngestOptions.parse("ref", **wrong)
    for ref in ("", "\udc80", "x" * (1 << 20) + "x"):
        with pytest.raises(InvalidArgument):
            IngestOptions.parse(ref)
    with pytest.raises(InvalidArgument):
        OpenOptions.parse("store", durability="none")  # type: ignore[arg-type]
    with BlockingStore.open(options) as store:
        info = store.info(keep(store, b"data"))
        with pytest.raises(InvalidFilter):
            list(store.pages("a=="))
        with pytest.raises(InvalidArgument):
            store.update(info, "size")
        ingest = store.ingest(IngestOptions.parse("ref"))
        with pytest.raises(InvalidLabel):
            ingest.commit(labels={"": "empty"})
        assert ingest.closed
    with pytest.raises(FailedPrecondition):
        store.info(info.digest)


@pytest.mark.anyio
async def test_a_ref_is_shared_with_the_event_loop_of_the_same_store(tmp_path: Path) -> None:
    async with LocalStore(tmp_path) as store:
        async with store.writer("ref") as writer:
            await writer.write(b"data")
            with pytest.raises(Unavailable):
                store.direct().ingest(IngestOptions.parse("ref"))
        assert 4 == store.direct().status("ref").offset


def test_it_runs_without_an_event_loop(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from steelyard.local.blocking import BlobPages, BlockingStore, OpenOptions\n"
        "with BlockingStore.open(OpenOptions.parse(sys.argv[1])) as store: print([*store.pages()], store.notes())\n"
        "print(sorted({'asyncio', 'trio'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "store")]

    assert ["[] []", "[]"] == subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_end_of_a_listing_is_prepared_like_a_page(options: OpenOptions) -> None:
    with BlockingStore.open(options) as store:
        digest = keep(store, b"data")
        pages = store.pages()

        assert [digest] == [info.digest for info in pages.next()]
        assert [] == prepared(pages)
