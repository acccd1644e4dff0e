"""Opening a store in a bucket: addresses, credentials, and servers that cannot keep a store."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from steelyard.errors import IncompatibleFormat, InvalidArgument, NotFound, ServerRefused, Unreachable, Unsupported
from steelyard.objects import ObjectAddress, ObjectStore
from steelyard.objects._credentials import client_options

from .lying import lying_server
from .s3 import request

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("keys")]

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    ("text", "bucket", "prefix", "endpoint", "region"),
    [
        ("s3://bucket", "bucket", "", None, None),
        ("s3://bucket/", "bucket", "", None, None),
        ("s3://bucket/a/b/", "bucket", "a/b", None, None),
        ("s3://my.bucket/p?endpoint=http://127.0.0.1:9000/", "my.bucket", "p", "http://127.0.0.1:9000", None),
        (
            "s3://bucket/p?region=eu-west-1&endpoint=https://s3.example",
            "bucket",
            "p",
            "https://s3.example",
            "eu-west-1",
        ),
    ],
)
def test_an_address_has_a_bucket_a_prefix_and_a_server(
    text: str, bucket: str, prefix: str, endpoint: str | None, region: str | None
) -> None:
    address = ObjectAddress.parse(text)

    assert (bucket, prefix, endpoint, region) == (address.bucket, address.prefix, address.endpoint, address.region)
    assert address == ObjectAddress.parse(str(address))


@pytest.mark.parametrize(
    "text",
    [
        "bucket",
        "s3://",
        "s3://b",
        "s3:///prefix",
        "s3://bucket/../x",
        "s3://bucket/a//b",
        "s3://bucket/ü",
        "s3://bucket?endpoint=ftp://host",
        "s3://bucket?endpoint=http://",
        "s3://bucket?endpoint=",
        "s3://bucket?endpoint=http://a&endpoint=http://b",
        "s3://bucket?key=value",
        "s3://bucket/" + "x" * 513,
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        ObjectAddress.parse(text)


def test_a_name_that_no_bucket_has_is_told() -> None:
    with pytest.raises(InvalidArgument, match="a bucket of 3 to 63 letters"):
        ObjectAddress.parse("s3://ab/prefix")


@pytest.mark.parametrize("text", [f"s3://user:{CANARY}@bucket", f"s3://bucket?endpoint=http://user:{CANARY}@host"])
def test_a_password_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ObjectAddress.parse(text)

    assert CANARY not in str(caught.value)


def test_shared_files_have_credentials_and_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials, config = tmp_path / "credentials", tmp_path / "config"
    credentials.write_text("[work]\naws_access_key_id = one\naws_secret_access_key = two\n", encoding="utf-8")
    config.write_text("[profile work]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:1\n", encoding="utf-8")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "work")
    address = ObjectAddress.parse("s3://bucket")

    found = client_options(address)
    assert "access_key_id" not in found
    assert "us-east-1" == found["region"]

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    found = client_options(address)
    assert ("one", "two", "eu-west-1") == (found["access_key_id"], found["secret_access_key"], found["region"])
    assert ("http://127.0.0.1:1", "true") == (found["aws_endpoint_url_s3"], found["allow_http"])

    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(InvalidArgument, match="missing"):
        client_options(address)


def test_a_broken_shared_file_is_named_and_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text(f"aws_secret_access_key = {CANARY}\n", encoding="utf-8")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    with pytest.raises(InvalidArgument, match="credentials") as caught:
        client_options(ObjectAddress.parse("s3://bucket"))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_user_without_a_home_has_settings_and_a_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one of a container, whose number is in no list of users."""
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)

    assert {"bucket": "bucket"}.items() <= client_options(ObjectAddress.parse("s3://bucket")).items()
    assert "spool" in ObjectStore("s3://bucket").spool.parts


def test_a_shared_file_may_be_below_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = x\n", encoding="utf-8")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "~/credentials")

    assert "x" == client_options(ObjectAddress.parse("s3://bucket"))["access_key_id"]


async def test_a_server_that_lets_two_writers_create_an_object_is_refused(tmp_path: Path) -> None:
    with lying_server() as endpoint:
        store = ObjectStore(f"s3://bucket/p?endpoint={endpoint}", spool=tmp_path / "spool")
        with pytest.raises(ServerRefused, match=r"8 of 8 writers created the same object.*read_only=True"):
            await store.aopen()
        status, _, _ = request("PUT", endpoint, "/bucket/p/steelyard.json", data=b'{"format": 1, "id": "1"}')
        assert 200 == status
        async with ObjectStore(
            f"s3://bucket/p?endpoint={endpoint}", spool=tmp_path / "spool", read_only=True
        ) as opened:
            assert [] == [info async for info in opened.walk()]
            with pytest.raises(Unsupported):
                await opened.put(b"data")


@pytest.mark.parametrize("status", [404, 412])
async def test_an_answer_that_makes_no_sense_is_a_refusal(tmp_path: Path, status: int) -> None:
    """Such as the page of a proxy in front of the server, for a request about no object that may be missing."""
    refused: dict[str, int] = {}
    with lying_server(refused=refused) as endpoint:
        assert 200 == request("PUT", endpoint, "/bucket/p/steelyard.json", data=b'{"format": 1, "id": "1"}')[0]
        address = f"s3://bucket/p?endpoint={endpoint}"
        async with ObjectStore(address, spool=tmp_path / "spool", read_only=True) as store:
            refused |= dict.fromkeys(("LIST", "PUT", "POST"), status)
            requests = store._require().requests
            calls: list[Callable[[], Awaitable[object]]] = [
                store.images.list,
                partial(requests.page, "blobs/"),
                partial(requests.put, "key", b"", create=False),
                partial(requests.begin, "key"),
            ]
            if status == 404:
                calls.append(partial(requests.put, "key", b"", create=True))
            else:
                refused["GET"] = status
                calls.append(partial(requests.get, "key"))
            for call in calls:
                with pytest.raises(ServerRefused):
                    await call()


async def test_no_server_answers(tmp_path: Path) -> None:
    store = ObjectStore("s3://bucket/p?endpoint=http://127.0.0.1:1", spool=tmp_path / "spool", retries=1, timeout=5)

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await store.aopen()


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
async def test_the_endpoint_of_the_address_comes_before_that_of_the_environment(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")

    async with ObjectStore(address, spool=tmp_path / "spool", retries=0, timeout=5) as store:
        assert "VERSITYGW" == (await store.server()).name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "code"),
    [("AWS_ACCESS_KEY_ID", "XAdminUserNotFound"), ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch")],
)
async def test_wrong_credentials_are_refused_with_the_next_step_and_not_repeated(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, code: str
) -> None:
    monkeypatch.setenv(variable, CANARY)
    store = ObjectStore(address, spool=tmp_path / "spool")

    with pytest.raises(ServerRefused, match=f"[^.]; check {variable}") as caught:
        await store.aopen()

    assert code == caught.value.server_code
    assert CANARY not in "".join(traceback.format_exception(caught.value)) + repr(vars(store))


@pytest.mark.slow
async def test_a_wrong_region_is_refused_with_the_servers_words_and_the_next_step(address: str, tmp_path: Path) -> None:
    words = r'the region "eu-west-7" is wrong; expecting "us-east-1"; give the bucket\'s region'

    with pytest.raises(ServerRefused, match=words) as caught:
        await ObjectStore(f"{address}&region=eu-west-7", spool=tmp_path / "spool").aopen()
    assert "AuthorizationHeaderMalformed" == caught.value.server_code


@pytest.mark.slow
async def test_a_bucket_that_does_not_exist_is_named(versitygw: str, tmp_path: Path) -> None:
    store = ObjectStore(f"s3://nowhere/p?endpoint={versitygw}", spool=tmp_path / "spool")

    with pytest.raises(ServerRefused, match="does not exist; create the bucket") as caught:
        await store.aopen()
    assert "NoSuchBucket" == caught.value.server_code


@pytest.mark.slow
async def test_a_newer_format_is_left_alone(address: str, tmp_path: Path) -> None:
    parts = ObjectAddress.parse(address)
    assert parts.endpoint is not None
    path = f"/{parts.bucket}/{parts.prefix}/steelyard.json"
    request("PUT", parts.endpoint, path, data=b'{"format": 2, "id": "1"}')

    with pytest.raises(IncompatibleFormat, match="store format 2"):
        await ObjectStore(address, spool=tmp_path / "spool").aopen()


@pytest.mark.slow
async def test_looking_creates_no_store(address: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="store"):
        await ObjectStore(address, spool=tmp_path / "spool", read_only=True).aopen()


@pytest.mark.slow
async def test_a_store_that_must_exist_is_not_created(address: str, tmp_path: Path) -> None:
    existing = ObjectStore(address, spool=tmp_path / "spool", create=False)
    with pytest.raises(NotFound, match="store"):
        await existing.aopen()

    async with ObjectStore(address, spool=tmp_path / "spool"):
        pass
    async with existing:
        assert (await existing.put(b"data")).new


@pytest.mark.slow
async def test_other_objects_of_the_bucket_are_left_alone(address: str, tmp_path: Path) -> None:
    parts = ObjectAddress.parse(address)
    assert parts.endpoint is not None
    async with ObjectStore(address, spool=tmp_path / "spool") as store:
        digest = (await store.put(b"data")).digest
        for key in ("blobs/readme.txt", "blobs/sha256/short", f"other/{uuid4().hex}"):
            request("PUT", parts.endpoint, f"/{parts.bucket}/{parts.prefix}/{key}", data=b"foreign")
        assert [digest] == [info.digest async for info in store.walk()]
        _, _, page = request(
            "GET", parts.endpoint, f"/{parts.bucket}", query={"list-type": "2", "prefix": parts.prefix}
        )
        assert f"<Key>{parts.prefix}/blobs/sha256/{digest.encoded}</Key>" in page.decode()
