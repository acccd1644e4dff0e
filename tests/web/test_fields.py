"""Fields of the response that the caller chooses: nothing gets a line of its own into the response."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard import Descriptor, Digest, MemoryStore, digest_of
from steelyard.errors import InvalidArgument
from steelyard.web import BlobResponse

from .asking import ask

pytestmark = pytest.mark.anyio

DIGEST = Digest.parse("sha256:" + "ab" * 32)
HOSTILE = ["a\r\nSet-Cookie: x=1", "a\nb", "a\rb", "a\x00b", "a\x7fb", "", " a", "a ", "a\t", "…", "\ud800", "a\u2028b"]


def response(**options: Any) -> BlobResponse:
    return BlobResponse(MemoryStore(), DIGEST, **options)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_content_type_that_http_does_not_allow_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match="content type"):
        response(content_type=value)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_header_that_http_does_not_allow_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match="x-one"):
        response(headers={"x-one": value})


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ä", "a\x00", "(a)"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="token"):
        response(headers={name: "1"})


@pytest.mark.parametrize(
    "name",
    ["Content-Length", "content-range", "ETag", "Transfer-Encoding", "Repr-Digest", "Content-Type", "Last-Modified"],
)
def test_a_header_of_the_response_itself_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        response(headers={name: "1"})


@pytest.mark.parametrize("value", ["a\r\nb", "a\x00", "", "a\x85b", "\ud800"])
def test_a_file_name_with_control_characters_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgument, match="filename"):
        response(filename=value)


def test_another_disposition_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="disposition"):
        response(disposition="form-data")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, None),
        ({"disposition": "inline"}, "inline"),
        ({"filename": "a.txt"}, 'attachment; filename="a.txt"'),
        ({"filename": "a b.txt", "disposition": "inline"}, 'inline; filename="a b.txt"'),
        ({"filename": "€ rates"}, "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates"),
        ({"filename": 'a"b'}, "attachment; filename=\"a_b\"; filename*=UTF-8''a%22b"),
        ({"filename": "50%.txt"}, "attachment; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt"),
        ({"filename": "../a"}, "attachment; filename=\".._a\"; filename*=UTF-8''..%2Fa"),
    ],
)
async def test_content_disposition(options: Any, field: str | None) -> None:
    async with MemoryStore() as store:
        digest = (await store.put(b"one")).digest
        answer = await ask(BlobResponse(store, digest, **options))

    assert field == answer.fields.get("content-disposition")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_any_file_name_is_read_back(name: str) -> None:
    field = response(filename=name)._disposition
    assert field is not None
    match = re.fullmatch(
        r"attachment; filename=\"([^\"\\]+)\"(?:; filename\*=UTF-8''([!#-&+.0-9A-Z^_`a-z|~-]+))?", field.decode("ascii")
    )
    assert match is not None

    assert name == (match[1] if match[2] is None else unquote(match[2], errors="strict"))


async def test_the_content_type_is_that_of_the_caller_or_of_the_descriptor() -> None:
    async with MemoryStore() as store:
        digest = (await store.put(b"one")).digest
        described = Descriptor(digest=digest, size=3, media_type="text/plain")

        assert "application/octet-stream" == (await ask(BlobResponse(store, digest))).fields["content-type"]
        assert "text/plain" == (await ask(BlobResponse(store, described))).fields["content-type"]
        found = await ask(BlobResponse(store, described, content_type="text/html; charset=utf-8"))
        assert "text/html; charset=utf-8" == found.fields["content-type"]


@pytest.mark.parametrize(
    ("algorithm", "name"), [("sha256", "sha-256"), ("sha512", "sha-512"), ("sha384", None), ("blake3", None)]
)
async def test_repr_digest_is_of_the_whole_blob_in_every_response_with_bytes(algorithm: str, name: str | None) -> None:
    data = b"some bytes" * 20
    async with MemoryStore() as store:
        digest = (await store.put(data, algorithm=(await digest_of(b"", algorithm=algorithm)).algorithm)).digest
        app = BlobResponse(store, digest)
        answers = [await ask(app), await ask(app, "HEAD"), await ask(app, headers={"Range": "bytes=1-2"})]
        answers.append(await ask(app, headers={"Range": "bytes=1-2,150-151", "Want-Repr-Digest": "md5=9"}))

    found = {answer.fields.get("repr-digest") for answer in answers}
    if name is None:
        assert {None} == found
    else:
        (value,) = found
        assert value is not None
        assert value.startswith(f"{name}=:")
        assert value.endswith(":")
        assert digest == Digest.parse(f"{algorithm}:{_decoded(value[len(name) + 2 : -1]).hex()}")


def _decoded(text: str) -> bytes:
    import base64  # noqa: PLC0415

    return base64.b64decode(text, validate=True)


async def test_headers_about_the_blob_are_sent_with_it_alone() -> None:
    headers = {
        "Cache-Control": "max-age=31536000, immutable",
        "Access-Control-Allow-Origin": "*",
        "Content-Language": "en",
    }
    async with MemoryStore() as store:
        digest = (await store.put(b"one")).digest
        app = BlobResponse(store, digest, headers=headers)
        good = [await ask(app), await ask(app, "HEAD"), await ask(app, headers={"Range": "bytes=0-0"})]
        good.append(await ask(app, headers={"If-None-Match": "*"}))
        bad = [await ask(BlobResponse(store, DIGEST, headers=headers)), await ask(app, "PUT")]
        bad.append(await ask(app, headers={"If-Match": '"x"'}))
        bad.append(await ask(app, headers={"Range": "bytes=9-"}))

    assert [200, 200, 206, 304] == [answer.status for answer in good]
    assert [404, 405, 412, 416] == [answer.status for answer in bad]
    for answer in good:
        assert headers["Cache-Control"] == answer.fields["cache-control"]
    for answer in bad:
        assert not {"cache-control", "content-language"} & answer.fields.keys()
    assert {"*"} == {answer.fields["access-control-allow-origin"] for answer in good + bad}
