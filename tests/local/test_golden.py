"""A root that format 1 wrote is read, resumed and changed by today's code."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from local.make_golden import BLOBS, GOLDEN, INGESTS, LABELS, PREFIX, REST
from steelyard import Algorithm, Digest, LocalStore, digest_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Copy the golden root and set the modes that git does not keep."""
    root = tmp_path / "store"
    shutil.copytree(GOLDEN, root)
    for path in root.rglob("*"):
        if path.is_file():
            path.chmod(0o444 if "blobs" in path.parts else 0o600)
    return root


def _files(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("read_only", [False, True])
async def test_every_blob_and_label_of_format_1_is_read(root: Path, read_only: bool) -> None:
    async with LocalStore(root, read_only=read_only) as store:
        assert [] == store.notes()
        infos = {info.digest: info async for info in store.walk()}
        for algorithm in Algorithm:
            for name, data in BLOBS.items():
                digest = await digest_of(data, algorithm=algorithm)
                assert data == await store.get(digest)
                assert infos.pop(digest).labels == (LABELS if name == "wool" else {})
        assert {} == infos
        wool = [info.digest.algorithm async for info in store.walk('labels."weight/pounds"==10')]
        assert sorted(Algorithm) == sorted(wool)


@pytest.mark.parametrize("read_only", [False, True])
async def test_every_ingest_of_format_1_is_listed(root: Path, read_only: bool) -> None:
    async with LocalStore(root, read_only=read_only) as store:
        statuses = {status.ref: (status.offset, status.total) for status in await store.list_statuses()}

    assert {ref: (len(PREFIX), len(PREFIX + REST)) for ref in INGESTS} == statuses


@pytest.mark.parametrize(("ref", "algorithm"), INGESTS.items())
async def test_every_ingest_of_format_1_goes_on_where_it_was(root: Path, ref: str, algorithm: Algorithm) -> None:
    async with LocalStore(root) as store:
        async with store.writer(ref) as writer:
            assert len(PREFIX) == writer.offset
            assert await digest_of(PREFIX, algorithm=algorithm) == await writer.digest()
            await writer.write(REST)
            info = await writer.commit(size=len(PREFIX + REST))

        assert await digest_of(PREFIX + REST, algorithm=algorithm) == info.digest
        assert PREFIX + REST == await store.get(info.digest)


async def test_a_record_of_a_tail_that_fits_nothing_changes_nothing(root: Path) -> None:
    """That of another boot, for example, and whatever a crash left of one."""
    for ingest in (root / "ingest").iterdir():
        (ingest / "tail").write_bytes(b"tail" + bytes(4092))
    async with LocalStore(root) as store:
        for ref in INGESTS:
            async with store.writer(ref) as writer:
                assert len(PREFIX) == writer.offset
                await writer.write(REST)
                await writer.commit(size=len(PREFIX + REST))

    assert [] == list((root / "ingest").iterdir())


async def test_reading_format_1_without_write_access_changes_no_byte(root: Path) -> None:
    before = _files(root)
    async with LocalStore(root, read_only=True) as store:
        async for info in store.walk():
            await store.get(info.digest)

    assert before == _files(root)


def test_the_golden_blobs_are_what_their_names_say() -> None:
    """Git, an editor or a line-ending rule could have changed them."""
    for path in (GOLDEN / "blobs" / "sha256").iterdir():
        digest = Digest.parse(f"sha256:{path.name}")
        assert digest.encoded == hashlib.sha256(path.read_bytes()).hexdigest()
