"""Conditional requests, by RFC 9110 section 13."""

from __future__ import annotations

import hashlib

import pytest

from steelyard import MemoryStore, Store
from steelyard.web import BlobResponse
from steelyard.web._conditions import _listed

from .asking import ask

pytestmark = pytest.mark.anyio

DATA = b"bytes that have a name"
TAG = f'"sha256:{hashlib.sha256(DATA).hexdigest()}"'
DATE = "Mon, 30 Nov 2026 12:00:00 GMT"


@pytest.fixture
async def app(store: Store) -> BlobResponse:
    return BlobResponse(store, (await store.put(DATA)).digest)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": TAG}, 304),
        ({"If-None-Match": f"W/{TAG}"}, 304),  # the weak comparison
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": f'"other", {TAG}'}, 304),
        ({"If-None-Match": f'"with,comma",W/"other" ,, {TAG}'}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": TAG.strip('"')}, 200),
        ({"If-None-Match": f"{TAG}x, {TAG}"}, 200),  # malformed
        ({"If-None-Match": ""}, 200),
        ({"If-Match": TAG}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": f'"other", {TAG}'}, 200),
        ({"If-Match": f"W/{TAG}"}, 412),  # the strong comparison
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": "malformed"}, 412),
        # The order of section 13.2.2.
        ({"If-Match": '"other"', "If-None-Match": TAG}, 412),
        ({"If-Match": TAG, "If-None-Match": TAG}, 304),
        ({"If-Match": TAG, "If-None-Match": '"other"'}, 200),
        # There is no time of a last change.
        ({"If-Modified-Since": DATE}, 200),
        ({"If-Unmodified-Since": "Mon, 01 Jan 1990 00:00:00 GMT"}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": DATE}, 200),
    ],
)
async def test_the_status_is_that_of_the_conditions(
    app: BlobResponse, method: str, headers: dict[str, str], status: int
) -> None:
    answer = await ask(app, method, headers)

    assert status == answer.status
    assert TAG == answer.fields["etag"]
    assert "last-modified" not in answer.fields
    assert answer.is_complete
    if status == 304:
        assert b"" == answer.body
        assert not {"content-type", "content-length", "repr-digest"} & answer.fields.keys()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Range": TAG}, 206),
        ({"If-Range": f"W/{TAG}"}, 200),
        ({"If-Range": '"other"'}, 200),
        ({"If-Range": DATE}, 200),
        ({"If-Range": ""}, 200),
        ({"If-Range": f"{TAG}, {TAG}"}, 200),
        ({"If-None-Match": TAG}, 304),  # before the range
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": TAG, "If-Range": TAG}, 206),
        ({"If-Range": '"other"', "Range": "bytes=900-"}, 200),  # 416 comes after If-Range
        ({"Range": "bytes=900-"}, 416),
        ({"Range": "bytes=900-", "If-None-Match": TAG}, 304),
    ],
)
async def test_a_range_is_sent_if_the_conditions_hold(app: BlobResponse, headers: dict[str, str], status: int) -> None:
    answer = await ask(app, headers={"Range": "bytes=2-5"} | headers)

    assert status == answer.status
    match status:
        case 206:
            assert DATA[2:6] == answer.body
        case 200:
            assert DATA == answer.body


async def test_head_has_no_ranges(app: BlobResponse) -> None:
    """RFC 9110 section 14.2: Range is defined for GET only."""
    answer = await ask(app, "HEAD", {"Range": "bytes=2-5"})

    assert (200, str(len(DATA)), b"") == (answer.status, answer.fields["content-length"], answer.body)
    assert "content-range" not in answer.fields


async def test_several_lines_of_a_field_are_one_list() -> None:
    async with MemoryStore() as store:
        app = BlobResponse(store, (await store.put(DATA)).digest)
        lines = [(b"if-none-match", b'"other"'), (b"If-None-Match", TAG.encode())]
        messages: list[int] = []

        async def send(message: object) -> None:
            if isinstance(message, dict) and "status" in message:
                messages.append(message["status"])

        async def receive() -> dict[str, str]:
            return {"type": "http.disconnect"}

        await app({"type": "http", "method": "GET", "headers": lines}, receive, send)
        assert [304] == messages


def test_a_hostile_list_of_tags_takes_time_in_proportion() -> None:
    for value in ['"' * 100_000, "W/" * 50_000, ", " * 50_000, '"a" ' * 25_000, '"a",' * 25_000 + '"']:
        assert not _listed(value, TAG, strong=False)
