"""Bodies: whole, in ranges, damaged, abandoned, cancelled; on every kind of store."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import anyio
import pytest

from steelyard import DataCorrupt, Digest, LocalStore, MemoryStore, NotFound, Store
from steelyard._runtime.lru import LruCache
from steelyard.errors import Unsupported
from steelyard.model import Descriptor
from steelyard.web import BlobResponse, Message, Receive, Scope, Send, _verified

from .asking import Answer, ask, parts, scope_of

pytestmark = pytest.mark.anyio

MIB = 1 << 20
SIZES = (0, 1, 1000, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 17)


def content(size: int) -> bytes:
    return (b"0123456789abcdef-%d-" % size * (size // 16 + 1))[:size]


def path_of(store: LocalStore, digest: Digest) -> Path:
    return store.path / "blobs" / digest.algorithm / digest.encoded


def damage(store: LocalStore, digest: Digest, change: str) -> None:
    path = path_of(store, digest)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    match change:
        case "first":
            data[0] ^= 1
        case "last":
            data[-1] ^= 1
        case "short":
            del data[-1:]
        case "long":
            data += b"x"
    path.write_bytes(data)


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "unverified"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_whole_blob(store: Store, size: int, verify: bool) -> None:
    data = content(size)
    app = BlobResponse(store, (await store.put(data)).digest, verify=verify)

    for _ in range(3):  # from the disk, by its BLAKE3 or from memory, and again
        answer = await ask(app)
        assert (200, str(size)) == (answer.status, answer.fields["content-length"])
        assert data == answer.body
        assert answer.is_complete
        assert "content-range" not in answer.fields


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512", "blake3"])
async def test_every_algorithm_is_verified(local: LocalStore, algorithm: Any) -> None:
    data = content(3 * MIB)
    digest = (await local.put(data, algorithm=algorithm)).digest
    app = BlobResponse(local, digest)
    for _ in range(2):
        assert data == (await ask(app)).body

    damage(local, digest, "first")
    with pytest.raises(DataCorrupt):
        await ask(app)


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=-1", 5 * MIB - 1, 5 * MIB),
        ("bytes=100-200", 100, 201),
        ("bytes=1048570-1048580", 1048570, 1048581),
        ("bytes=3-2097154", 3, 2097155),
        ("bytes=1-", 1, 5 * MIB),
        ("bytes=0-", 0, 5 * MIB),
    ],
)
async def test_one_range(store: Store, value: str, start: int, stop: int) -> None:
    data = content(5 * MIB)
    answer = await ask(BlobResponse(store, (await store.put(data)).digest), headers={"Range": value})

    assert 206 == answer.status
    assert f"bytes {start}-{stop - 1}/{len(data)}" == answer.fields["content-range"]
    assert str(stop - start) == answer.fields["content-length"]
    assert data[start:stop] == answer.body
    assert answer.is_complete


async def test_several_ranges(store: Store) -> None:
    data = content(5 * MIB)
    app = BlobResponse(store, (await store.put(data)).digest, content_type="video/webm")
    answer = await ask(app, headers={"Range": "bytes=-3, 0-9,2000000-4000000"})

    assert 206 == answer.status
    assert "content-range" not in answer.fields
    assert str(len(answer.body)) == answer.fields["content-length"]
    wanted = [(5 * MIB - 3, 5 * MIB), (0, 10), (2000000, 4000001)]
    places = [f"bytes {start}-{stop - 1}/{len(data)}" for start, stop in wanted]
    assert [
        ("video/webm", place, data[start:stop]) for place, (start, stop) in zip(places, wanted, strict=True)
    ] == parts(answer)


@pytest.mark.parametrize("blob", ["sha256:" + "00" * 32, "no digest", "md5:" + "00" * 16, "sha256:", ""])
async def test_an_absent_blob_is_a_404(store: Store, blob: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await ask(BlobResponse(store, blob), method)
        assert (404, b"not found\n" if method == "GET" else b"") == (answer.status, answer.body)
        assert "etag" not in answer.fields


async def test_the_caller_may_answer_for_an_absent_blob(store: Store) -> None:
    async def other(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 410, "headers": []})
        await send({"type": "http.response.body", "body": b"gone"})

    answer = await ask(BlobResponse(store, "sha256:" + "00" * 32, missing=other))
    assert (410, b"gone") == (answer.status, answer.body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
async def test_other_methods_are_refused(store: Store, method: str) -> None:
    answer = await ask(BlobResponse(store, (await store.put(b"one")).digest), method)

    assert (405, "GET, HEAD") == (answer.status, answer.fields["allow"])


async def test_another_kind_of_connection_is_refused(store: Store) -> None:
    with pytest.raises(Unsupported, match="lifespan"):
        await BlobResponse(store, "x")({"type": "lifespan"}, _never, _never)


async def _never(*_: object) -> Any:
    raise AssertionError


@pytest.mark.parametrize("change", ["first", "last", "short", "long"])
@pytest.mark.parametrize("known", [False, True], ids=["new", "read before"])
@pytest.mark.parametrize("size", [1000, MIB, MIB + 1, 4 * MIB])
async def test_a_damaged_blob_is_never_sent_as_a_whole(local: LocalStore, size: int, known: bool, change: str) -> None:
    digest = (await local.put(content(size))).digest
    app = BlobResponse(local, digest)
    if known:
        await ask(app)
        if size <= MIB:
            _verified.forget()
    damage(local, digest, change)

    answer = Answer()
    with pytest.raises(DataCorrupt):
        await ask(app, answer=answer)
    if size + 1 <= MIB:
        assert [] == answer.messages, "a small blob is verified before the headers"
    elif answer.messages:
        assert not answer.is_complete
        assert len(answer.body) < int(answer.fields["content-length"])


@pytest.mark.parametrize("change", ["short", "long"])
async def test_what_is_in_memory_has_the_size_of_the_headers(local: LocalStore, change: str) -> None:
    digest = (await local.put(content(1000))).digest
    await ask(BlobResponse(local, digest))
    damage(local, digest, change)

    with pytest.raises(DataCorrupt):
        await ask(BlobResponse(local, digest))


async def test_a_deleted_blob_is_not_served_from_memory(store: Store) -> None:
    digest = (await store.put(b"some bytes")).digest
    assert 200 == (await ask(BlobResponse(store, digest))).status
    await store.delete(digest)

    assert 404 == (await ask(BlobResponse(store, digest))).status


async def test_a_descriptor_with_another_size_is_reported_before_the_headers(store: Store) -> None:
    digest = (await store.put(b"some bytes")).digest
    answer = Answer()
    with pytest.raises(DataCorrupt):
        await ask(BlobResponse(store, Descriptor(digest=digest, size=3)), answer=answer)

    assert [] == answer.messages


async def test_memory_for_small_blobs_is_bounded(store: Store) -> None:
    for number in range(40):
        await ask(BlobResponse(store, (await store.put(number.to_bytes(4, "big") * (MIB // 4))).digest))

    assert 32 == len(_verified._small)
    assert 32 * MIB == _verified._small.weight


async def test_memory_of_larger_blobs_is_bounded(monkeypatch: pytest.MonkeyPatch, local: LocalStore) -> None:
    monkeypatch.setattr(_verified, "_blake3", LruCache(3))
    for number in range(5):
        await ask(BlobResponse(local, (await local.put(bytes([number]) * (MIB + 1))).digest))

    assert 3 == len(_verified._blake3)


def blob_descriptors(store: LocalStore) -> int:
    """Return how many blobs of the store this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        found += target.startswith(f"{store.path}/blobs/") and len(Path(target).name) == 64
    return found


@contextmanager
def nothing_stays_open(store: LocalStore) -> Iterator[None]:
    assert 0 == blob_descriptors(store)
    yield
    assert 0 == blob_descriptors(store)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-"}, {"Range": "bytes=0-1,2000000-"}])
@pytest.mark.parametrize("verify", [True, False], ids=["verified", "unverified"])
@pytest.mark.parametrize("how", ["event", "error", "error at once"])
async def test_a_client_that_goes_ends_the_response(
    local: LocalStore, headers: dict[str, str], verify: bool, how: str
) -> None:
    """By an event, as most servers tell it, or by an error of `send`."""
    app = BlobResponse(local, (await local.put(content(40 * MIB))).digest, verify=verify)
    gone = anyio.Event()
    sent = 0

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))
        if how == "error at once" or sent > 2 * MIB:
            if how == "event":
                gone.set()
            else:
                raise BrokenPipeError
        await anyio.lowlevel.checkpoint()

    with nothing_stays_open(local), anyio.fail_after(30):
        await app(scope_of(headers=headers), receive, send)

    assert sent < 10 * MIB


@pytest.mark.parametrize(
    "headers", [{}, {"Range": "bytes=5-"}, {"Range": "bytes=0-1,2000000-"}, {"Range": "bytes=0-5"}]
)
@pytest.mark.parametrize("size", [1000, 6 * MIB])
async def test_a_response_can_be_cancelled_at_each_event(local: LocalStore, headers: dict[str, str], size: int) -> None:
    app = BlobResponse(local, (await local.put(content(size))).digest)
    events = len((await ask(app, headers=headers)).messages)
    _verified.forget()

    for number in range(events):
        with nothing_stays_open(local), anyio.CancelScope() as scope:
            left = number

            async def send(_message: Message, scope: anyio.CancelScope = scope) -> None:
                nonlocal left
                if left == 0:
                    scope.cancel()
                left -= 1
                await anyio.lowlevel.checkpoint()

            await app(scope_of(headers=headers), anyio.sleep_forever, send)  # type: ignore[arg-type]
        assert scope.cancelled_caught


async def test_an_error_of_the_server_is_raised_as_it_is(local: LocalStore) -> None:
    app = BlobResponse(local, (await local.put(content(4 * MIB))).digest)

    async def send(_message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        raise KeyError("one")

    with nothing_stays_open(local), pytest.raises(KeyError, match="one"):
        await app(scope_of(), anyio.sleep_forever, send)  # type: ignore[arg-type]


async def stopped(_message: Message) -> None:
    """Send nothing, for ever."""
    await anyio.sleep_forever()


async def test_a_slow_client_holds_few_pieces(local: LocalStore) -> None:
    """Nothing is read far ahead of a client that does not take it."""
    app = BlobResponse(local, (await local.put(content(30 * MIB))).digest, verify=False)
    reads = 0
    original = type(await local.reader_at((await local.put(b"x")).digest)).read_at

    async def counted(self: Any, offset: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return await original(self, offset, size)

    with pytest.MonkeyPatch.context() as patch:
        from steelyard.local.reader import LocalReader  # noqa: PLC0415

        patch.setattr(LocalReader, "read_at", counted)
        with anyio.move_on_after(0.3):
            await app(scope_of(), anyio.sleep_forever, stopped)  # type: ignore[arg-type]
    assert 1 <= reads <= 4


async def test_a_store_of_another_author(tmp_path: Path, anyio_backend: str) -> None:  # noqa: ARG001
    spec = importlib.util.spec_from_file_location(
        "sqlite_store", Path(__file__).parents[2] / "examples" / "sqlite_store.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sqlite_store"] = module
    spec.loader.exec_module(module)
    data = content(3 * MIB)
    async with module.SqliteStore(tmp_path / "store.db") as store:
        app = BlobResponse(store, (await store.put(data)).digest)

        assert data == (await ask(app)).body
        assert data[5:9] == (await ask(app, headers={"Range": "bytes=5-8"})).body
        assert data[5:] == (await ask(app, headers={"Range": "bytes=5-"})).body
        assert 404 == (await ask(BlobResponse(store, "sha256:" + "00" * 32))).status


async def test_a_blob_that_is_deleted_while_it_is_sent_breaks_the_response(anyio_backend: str) -> None:  # noqa: ARG001
    """NotFound after the headers is no 404."""

    class Reader:
        digest = Digest.parse("sha256:" + "00" * 32)
        size = 10

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def read_at(self, _offset: int, _size: int) -> bytes:
            raise NotFound(self.digest)

    class Missing:
        def reader_at(self, _blob: object) -> Reader:
            return Reader()

    with pytest.raises(NotFound):
        await ask(BlobResponse(Missing(), Reader.digest, verify=False))  # type: ignore[arg-type]


async def test_memory_store_is_verified_too(anyio_backend: str) -> None:  # noqa: ARG001
    async with MemoryStore() as store:
        data = content(3 * MIB)
        assert data == (await ask(BlobResponse(store, (await store.put(data)).digest))).body
