"""A `str` is the path of a file. A text that was meant as content is refused with words that say so."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from steelyard import LocalStore, MemoryStore, Store, digest_of, write_blob
from steelyard.containerd import RemoteStore

pytestmark = pytest.mark.anyio

HINT = "a str is the path of a file: pass content as bytes"
TEXTS = {
    "a word": "hello",
    "a sentence": "ten pounds of wool",
    "lines": "a\nb.txt\n",
    "JSON": '{"a": "./b"}',
    "long": "x./" * 100,
    "very long": "x./" * 2000,
    "NUL": "a.b\0",
}


@pytest.fixture(params=["local", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    async with LocalStore(tmp_path / "store") as store:
        yield store


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("ref", [None, "ref"])
async def test_a_text_that_looks_like_content_is_explained(store: Store, text: str, ref: str | None) -> None:
    with pytest.raises((OSError, ValueError), match=HINT) as caught:
        await store.put(text, ref=ref)

    assert len(str(caught.value)) < 1000
    assert not isinstance(caught.value, OSError) or caught.value.errno in {
        errno.ENOENT,
        errno.ENAMETOOLONG,
        errno.EINVAL,
    }


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_so_is_one_of_many(store: Store, text: str) -> None:
    (result,) = [result async for result in store.put_many([text], errors="yield")]

    assert HINT in str(result.error)


async def test_so_is_one_for_a_single_ingest(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match=HINT):
        await write_blob(store, "hello", await digest_of(b"hello"), ref="ref")


@pytest.mark.parametrize("path", ["no/such/file", "file.txt", "my file.txt", Path("hello"), Path("a\nb")])
async def test_a_path_of_no_file_is_just_absent(store: Store, path: str | Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        await store.put(path)

    assert "No such file or directory" == caught.value.strerror


async def test_a_remote_store_explains_it_before_it_asks_its_server(tmp_path: Path) -> None:
    async with RemoteStore(tmp_path / "no.sock") as store:
        with pytest.raises(FileNotFoundError, match=HINT):
            await store.put("hello")


async def test_a_file_of_such_a_name_is_stored(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello\nyou").write_bytes(b"content")

    assert b"content" == await store.get((await store.put("hello\nyou")).digest)
