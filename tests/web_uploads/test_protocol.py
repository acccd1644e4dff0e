"""tus 1.0, phrase by phrase, on every kind of store."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from steelyard import Info, MemoryStore, Store
from steelyard.digest import Digest
from steelyard.errors import NotFound
from steelyard.memory._ingest import MemoryWriter
from steelyard.options import CommitOptions
from steelyard.testing._values import digest_of
from steelyard.web.uploads import Upload, Uploads

from .client import PATCH_TYPE, Client

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 40


@pytest.fixture
def client(store: Store) -> Client:
    """Give a client of an application with the default arguments."""
    return Client(Uploads(store))


async def test_options_say_what_is_offered(store: Store) -> None:
    answer = await Client(Uploads(store, max_size=1 << 40))("OPTIONS", resumable=None)

    assert 204 == answer.status
    assert "1.0.0" == answer.headers["tus-version"]
    assert str(1 << 40) == answer.headers["tus-max-size"]
    assert "sha1" in answer.headers["tus-checksum-algorithm"].split(",")
    wanted = ["creation", "creation-with-upload", "creation-defer-length", "checksum", "termination", "expiration"]
    assert wanted == answer.headers["tus-extension"].split(",")


async def test_an_upload_in_parts_is_a_blob(store: Store, client: Client) -> None:
    path = await client.create(len(DATA))
    for offset in range(0, len(DATA), 4000):
        answer = await client.patch(path, offset, DATA[offset : offset + 4000])
        assert (204, min(offset + 4000, len(DATA))) == (answer.status, answer.offset)
    digest = digest_of(DATA)

    assert str(digest) == answer.headers["steelyard-digest"]
    assert DATA == await store.get(digest)
    assert [] == await store.list_statuses()


@pytest.mark.parametrize("pieces", [[DATA], [DATA[:1], b"", DATA[1:]]])
async def test_creation_with_upload(store: Store, client: Client, pieces: list[bytes]) -> None:
    whole = await client("POST", "/", pieces, upload_length=len(DATA), content_type=PATCH_TYPE)
    part = await client("POST", "/", [DATA[:9]], upload_length=len(DATA), content_type=PATCH_TYPE)

    assert (201, len(DATA)) == (whole.status, whole.offset)
    assert DATA == await store.get(whole.headers["steelyard-digest"])
    assert (201, 9) == (part.status, part.offset)
    assert 9 == (await client("HEAD", "/" + part.headers["location"])).offset


async def test_an_upload_without_bytes_is_complete_at_its_creation(store: Store, client: Client) -> None:
    answer = await client("POST", upload_length=0)

    assert (201, 0) == (answer.status, answer.offset)
    assert b"" == await store.get(answer.headers["steelyard-digest"])
    assert 0 == (await client("HEAD", "/" + answer.headers["location"])).offset


async def test_head_says_all_that_a_client_needs_to_resume(client: Client) -> None:
    field = f"filename {base64.b64encode('wö.txt'.encode()).decode()},empty"
    path = await client.create(len(DATA), upload_metadata=field)
    await client.patch(path, 0, DATA[:100])
    answer = await client("HEAD", path)

    assert (200, 100) == (answer.status, answer.offset)
    assert str(len(DATA)) == answer.headers["upload-length"]
    assert field == answer.headers["upload-metadata"]
    assert "no-store" == answer.headers["cache-control"]
    assert "1.0.0" == answer.headers["tus-resumable"]
    assert "" == answer.text


async def test_a_client_that_missed_the_last_answer_learns_that_it_is_complete(store: Store, client: Client) -> None:
    path = await client.create(len(DATA))
    last = await client.patch(path, 0, DATA)
    head = await Client(Uploads(store))("HEAD", path)  # as after a restart
    again = await client.patch(path, len(DATA), b"")

    for answer in (head, again):
        assert len(DATA) == answer.offset
        assert last.headers["steelyard-digest"] == answer.headers["steelyard-digest"]


async def test_termination_frees_what_the_upload_has(store: Store, client: Client) -> None:
    path = await client.create(len(DATA))
    await client.patch(path, 0, DATA[:5])

    assert 204 == (await client("DELETE", path)).status
    assert ([], []) == (await store.list_statuses(), await store.leases.list())
    assert [404] * 3 == [
        (await client("HEAD", path)).status,
        (await client.patch(path, 5, b"x")).status,
        (await client("DELETE", path)).status,
    ]


async def test_termination_of_a_complete_upload_leaves_its_blob(store: Store, client: Client) -> None:
    path = await client.create(len(DATA))
    await client.patch(path, 0, DATA)

    assert 204 == (await client("DELETE", path)).status
    assert 404 == (await client("HEAD", path)).status
    assert await store.exists(digest_of(DATA))


async def test_the_method_in_a_field_replaces_the_real_one(client: Client) -> None:
    path = await client.create(3)
    answer = await client(
        "POST", path, b"abc", x_http_method_override="PATCH", upload_offset=0, content_type=PATCH_TYPE
    )

    assert (204, 3) == (answer.status, answer.offset)


async def test_a_length_that_comes_later(store: Store, client: Client) -> None:
    path = await client.create(None, upload_defer_length="1")
    await client.patch(path, 0, b"abc")
    before = await client("HEAD", path)
    assert 400 == (await client.patch(path, 3, b"", upload_length=2)).status
    await client.patch(path, 3, b"d", upload_length=6)
    after = await client("HEAD", path)
    other = await client.patch(path, 4, b"e", upload_length=7)
    last = await client.patch(path, 4, b"ef")

    assert ("1", None) == (before.headers["upload-defer-length"], before.headers.get("upload-length"))
    assert (None, "6") == (after.headers.get("upload-defer-length"), after.headers["upload-length"])
    assert (400, 204) == (other.status, last.status)
    assert b"abcdef" == await store.get(last.headers["steelyard-digest"])


async def test_answers_say_when_the_upload_expires(store: Store) -> None:
    client = Client(Uploads(store, expires=timedelta(hours=1)))
    answers = [await client("POST", upload_length=10)]
    path = "/" + answers[0].headers["location"]
    answers += [await client.patch(path, 0, b"a"), await client("HEAD", path)]

    for answer in answers:
        left = parsedate_to_datetime(answer.headers["upload-expires"]) - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)


async def test_a_complete_upload_outlives_its_time(store: Store) -> None:
    client = Client(Uploads(store, expires=timedelta(seconds=0.05)))
    path = await client.create(1)
    while (answer := await client.patch(path, 0, b"a")).status != 204:
        path = await client.create(1)  # too slow
    await Uploads(store).sweep()

    assert answer.offset == (await client("HEAD", path)).offset == 1


async def test_an_upload_of_a_blob_that_is_stored(store: Store, client: Client) -> None:
    digest = (await store.put(DATA)).digest
    path = await client.create(len(DATA))
    answer = await client.patch(path, 0, DATA)

    assert (204, str(digest)) == (answer.status, answer.headers["steelyard-digest"])


async def test_a_complete_upload_is_no_garbage(store: Store, client: Client) -> None:
    await store.put(b"garbage")
    path = await client.create(len(DATA))
    await client.patch(path, 0, DATA)
    part = await client.create(5)
    await client.patch(part, 0, b"abc")
    found = await store.collect(grace=timedelta(0), ingest_age=timedelta(0))

    assert 1 == found.blobs
    assert DATA == await store.get(digest_of(DATA))
    assert 3 == (await client("HEAD", part)).offset


async def test_the_application_is_told_and_can_give_a_name(store: Store) -> None:
    told: list[Upload] = []

    async def on_complete(upload: Upload) -> None:
        told.append(upload)
        await store.images.assign({f"files/{upload.metadata['filename']}": upload.descriptor}, overwrite=True)

    client = Client(Uploads(store, on_complete=on_complete))
    path = await client.create(3, upload_metadata=f"filename {base64.b64encode(b'a.txt').decode()}")
    await client.patch(path, 0, b"abc")
    await client("HEAD", path)

    [upload] = told
    assert (path[1:], 3, Digest.parse(digest_of(b"abc"))) == (upload.id, upload.size, upload.digest)
    assert upload.digest == (await store.images.get("files/a.txt")).target.digest


@pytest.mark.parametrize("failure", [OSError("not now"), NotFound("a name", kind="image name")])
async def test_the_application_is_told_again_after_a_failure(store: Store, failure: Exception) -> None:
    told: list[Upload] = []

    async def on_complete(upload: Upload) -> None:
        told.append(upload)
        if len(told) < 4:
            raise failure

    raised: list[Exception] = []
    app = Uploads(store, on_complete=on_complete)
    client = Client(app, raised.append)
    path = await client.create(3)
    answers = [await client.patch(path, 0, b"abc"), await client("HEAD", path)]
    with pytest.raises(ExceptionGroup) as group:
        await app.sweep()
    await app.sweep()
    await app.sweep()

    assert [500, 500] == [answer.status for answer in answers]
    assert [failure, failure] == raised
    assert (failure,) == group.value.exceptions
    assert 3 == (await client("HEAD", path)).offset
    assert 4 == len(told)


async def test_a_sweep_goes_on_after_uploads_that_are_discarded_meanwhile(store: Store) -> None:
    told: list[Upload] = []
    is_ready = False

    async def on_complete(upload: Upload) -> None:
        if not is_ready:
            raise OSError("not now")
        told.append(upload)
        for lease in await store.leases.list():
            if not lease.id.endswith(upload.id):
                await store.leases.delete(lease.id)

    app = Uploads(store, on_complete=on_complete)
    client = Client(app, lambda _: None)
    for _ in range(3):
        assert 500 == (await client.patch(await client.create(3), 0, b"abc")).status
    is_ready = True
    await app.sweep()

    assert 1 == len(told)


@pytest.mark.parametrize(
    ("scope", "created"),
    [
        ({"path": "/"}, "ID"),
        ({"path": "/files/", "root_path": "/files"}, "ID"),
        ({"path": "/files", "root_path": "/files"}, "files/ID"),
        ({"path": "/api/files/", "root_path": "/api/files"}, "ID"),
        ({"path": "/", "root_path": "/files"}, "ID"),
        (
            {"path": "/\u0444\u0430\u0439\u043b\u044b", "root_path": "/\u0444\u0430\u0439\u043b\u044b"},
            "%D1%84%D0%B0%D0%B9%D0%BB%D1%8B/ID",
        ),
        ({"path": "/a:b c?d", "root_path": "/a:b c?d"}, "a%3Ab%20c%3Fd/ID"),
    ],
)
async def test_the_location_is_relative(store: Store, scope: dict[str, str], created: str) -> None:
    client = Client(Uploads(store))
    answer = await client("POST", upload_length=1, scope=scope)
    location = answer.headers["location"]
    upload = location.rpartition("/")[2]

    assert created == location.replace(upload, "ID")
    found = {"path": f"{scope.get('root_path', '')}/{upload}", "root_path": scope.get("root_path", "")}
    assert 0 == (await client("HEAD", scope=found)).offset


async def test_pages_of_allowed_origins_may_use_it(store: Store) -> None:
    client = Client(Uploads(store, origins=["https://a.example"]))
    preflight = await client(
        "OPTIONS", resumable=None, origin="https://a.example", access_control_request_method="PATCH"
    )
    allowed = await client("POST", upload_length=1, origin="https://a.example")
    refused = await client("POST", upload_length=1, origin="https://b.example")
    every = await Client(Uploads(store, origins="*"))("POST", upload_length=1, origin="https://b.example")
    none = await Client(Uploads(store))("POST", upload_length=1, origin="https://a.example")

    assert "https://a.example" == preflight.headers["access-control-allow-origin"]
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    assert "Upload-Offset" in preflight.headers["access-control-allow-headers"]
    assert "Location" in allowed.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in refused.headers
    assert "*" == every.headers["access-control-allow-origin"]
    assert "access-control-allow-origin" not in none.headers


async def test_the_digest_is_in_the_lease_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a complete upload is known after a kill, also in a store that enters the blob only after it has published it."""
    store = MemoryStore()
    found: list[tuple[Digest, ...]] = []
    commit = MemoryWriter._commit

    async def watched(writer: MemoryWriter, options: CommitOptions) -> Info:
        found.append((await store.leases.resources(writer.ref)).blobs)
        return await commit(writer, options)

    monkeypatch.setattr(MemoryWriter, "_commit", watched)
    client = Client(Uploads(store))
    await client.patch(await client.create(3), 0, b"abc")

    assert [(digest_of(b"abc"),)] == found


async def test_an_upload_without_bytes_is_committed_again_after_a_kill(store: Store, client: Client) -> None:
    path = await client.create(None, upload_defer_length=1)
    ref = f"uploads{path}"
    # A request with the length, killed between its record of the digest and its commit.
    await store.leases.add(ref, refs=[f"{ref}!length=0"], digests=[digest_of(b"")])
    answer = await client("HEAD", path)

    assert (200, "0", str(digest_of(b""))) == (
        answer.status,
        answer.headers["upload-length"],
        answer.headers["steelyard-digest"],
    )
