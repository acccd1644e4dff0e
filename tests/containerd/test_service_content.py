"""The calls of the content service but Write, one by one, by a plain client."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from steelyard.containerd.service import Server
from steelyard_bench._proto import content_pb2 as pb

from .wire import Wire, off_loop, refused, sha256, wire

DATA = bytes(range(256)) * 20
EXACT = (("steelyard-exact", "1"),)
ABSENT = "sha256:" + "0" * 64
INT64 = 2**63 - 1


def infos(content: Wire, *filters: str) -> list[pb.Info]:
    return [info for page in content.content.List(pb.ListContentRequest(filters=filters)) for info in page.info]


@pytest.mark.anyio
async def test_the_service_serves_on_both_backends(service: Server) -> None:
    def client() -> None:
        with wire(service.address) as content:
            assert DATA == content.read(content.store(DATA))

    await off_loop(client)


def test_info_tells_size_labels_and_times(content: Wire) -> None:
    digest = content.store(DATA, a="1")
    info = content.content.Info(pb.InfoRequest(digest=digest)).info

    assert (digest, len(DATA), {"a": "1"}) == (info.digest, info.size, dict(info.labels))
    assert info.created_at.seconds > 1_500_000_000
    assert info.updated_at.ToDatetime() >= info.created_at.ToDatetime()


@pytest.mark.parametrize(
    "digest", ["", "x", "sha256:", "sha256:abc", "sha256:" + "G" * 64, "md5:" + "0" * 32, "sha256:" + "0" * 64 + "\n"]
)
def test_a_digest_that_is_none_is_an_invalid_argument(content: Wire, digest: str) -> None:
    calls = content.content
    for call in (
        lambda: calls.Info(pb.InfoRequest(digest=digest)),
        lambda: calls.Delete(pb.DeleteContentRequest(digest=digest)),
        lambda: calls.Update(pb.UpdateRequest(info=pb.Info(digest=digest))),
        lambda: content.read(digest),
    ):
        with refused(StatusCode.INVALID_ARGUMENT, digest.strip()[:20]):
            call()


def test_what_is_not_there_is_not_found_by_name(content: Wire) -> None:
    calls = content.content
    for call in (
        lambda: calls.Info(pb.InfoRequest(digest=ABSENT)),
        lambda: calls.Delete(pb.DeleteContentRequest(digest=ABSENT), metadata=EXACT),
        lambda: calls.Update(pb.UpdateRequest(info=pb.Info(digest=ABSENT))),
        lambda: content.read(ABSENT),
    ):
        with refused(StatusCode.NOT_FOUND, ABSENT):
            call()
    with refused(StatusCode.NOT_FOUND, "ns/1/absent"):
        calls.Status(pb.StatusRequest(ref="ns/1/absent"))
    with refused(StatusCode.NOT_FOUND, "ns/1/absent"):
        calls.Abort(pb.AbortRequest(ref="ns/1/absent"), metadata=EXACT)


def test_containerd_may_abort_and_delete_what_is_not_there(content: Wire) -> None:
    """As at its own store. It would keep its record of the ingest, or end its collection."""
    content.content.Abort(pb.AbortRequest(ref="ns/1/absent"))
    content.content.Delete(pb.DeleteContentRequest(digest=ABSENT))


def test_update_replaces_all_labels_or_those_that_the_mask_names(content: Wire) -> None:
    digest = content.store(DATA, a="1", b="2")

    def update(paths: list[str], **labels: str) -> dict[str, str]:
        info = pb.Info(digest=digest, labels=labels)
        request = pb.UpdateRequest(info=info, update_mask=FieldMask(paths=paths))
        return dict(content.content.Update(request).info.labels)

    assert {"c": "3"} == update([], c="3")
    assert {"d": "4"} == update(["labels"], d="4")
    assert {"d": "4", "e.f": "5"} == update(["labels.e.f"], **{"e.f": "5", "x": "ignored"})
    assert {"e.f": "5"} == update(["labels.d"])
    assert {"e.f": "5", "g": "6"} == update(["labels.g", "labels.h"], g="6", h="")
    assert {} == update([], a="")
    with refused(StatusCode.INVALID_ARGUMENT, "size"):
        update(["size"])


def test_a_label_over_the_limit_is_an_invalid_argument(content: Wire) -> None:
    digest = content.store(DATA)
    with refused(StatusCode.INVALID_ARGUMENT, "4097"):
        content.content.Update(pb.UpdateRequest(info=pb.Info(digest=digest, labels={"a": "x" * 4096})))
    with refused(StatusCode.INVALID_ARGUMENT, "4097"):
        content.store(b"other", a="x" * 4096)


def test_our_own_client_has_labels_with_empty_values(content: Wire) -> None:
    exact = (("steelyard-exact", "1"),)
    commit = pb.WriteContentRequest(action=pb.COMMIT, ref="r", data=DATA, labels={"a": ""})
    (done,) = content.write(commit, metadata=exact)

    assert {"a": ""} == dict(content.content.Info(pb.InfoRequest(digest=done.digest)).info.labels)


@pytest.mark.slow
def test_list_streams_blobs_a_hundred_at_a_time_in_order(content: Wire) -> None:
    assert [] == list(content.content.List(pb.ListContentRequest()))
    digests = sorted(content.store(str(number).encode(), number=str(number)) for number in range(230))
    pages = list(content.content.List(pb.ListContentRequest()))

    assert [100, 100, 30] == [len(page.info) for page in pages]
    assert digests == [info.digest for info in infos(content)]
    assert {"7", "8"} == {info.labels["number"] for info in infos(content, "labels.number==7", "labels.number==8")}
    with refused(StatusCode.INVALID_ARGUMENT, "position"):
        infos(content, "digest=x")


def test_a_page_of_many_labels_stays_far_below_the_limit_of_a_message(content: Wire) -> None:
    labels = {f"key-{number}": "x" * 4000 for number in range(100)}
    for number in range(20):
        content.store(str(number).encode(), **labels)
    pages = list(content.content.List(pb.ListContentRequest()))

    assert 20 == sum(len(page.info) for page in pages)
    assert max(page.ByteSize() for page in pages) < 2 << 20


def test_delete_removes_a_blob(content: Wire) -> None:
    digest = content.store(DATA)
    content.content.Delete(pb.DeleteContentRequest(digest=digest))
    with refused(StatusCode.NOT_FOUND, digest):
        content.content.Info(pb.InfoRequest(digest=digest))


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [
        (0, 0, DATA),
        (0, -1, DATA),
        (-1, 0, DATA),
        (-INT64 - 1, -INT64 - 1, DATA),
        (0, INT64, DATA),
        (10, INT64, DATA[10:]),
        (5, 7, DATA[5:12]),
        (len(DATA) - 3, 10, DATA[-3:]),
        (len(DATA), 0, b""),
        (len(DATA), INT64, b""),
    ],
)
def test_read_gives_the_range_that_is_there(content: Wire, offset: int, size: int, expected: bytes) -> None:
    assert expected == content.read(content.store(DATA), offset, size)


@pytest.mark.parametrize("offset", [len(DATA) + 1, INT64])
def test_read_past_the_end_is_out_of_range(content: Wire, offset: int) -> None:
    digest = content.store(DATA)
    with refused(StatusCode.OUT_OF_RANGE, digest, str(offset), str(len(DATA))):
        content.read(digest, offset)


def test_read_gives_messages_of_a_mebibyte_counted_from_the_start_of_the_range(content: Wire) -> None:
    data = DATA * 700
    digest = content.store(data)
    answers = list(content.content.Read(pb.ReadContentRequest(digest=digest, offset=100)))

    assert [(0, 1 << 20), (1 << 20, 1 << 20), (2 << 20, 1 << 20), (3 << 20, len(data) - 100 - (3 << 20))] == [
        (answer.offset, len(answer.data)) for answer in answers
    ]
    assert data[100:] == b"".join(answer.data for answer in answers)


def test_an_empty_blob_is_read_as_no_message(content: Wire) -> None:
    digest = content.store(b"")

    assert sha256(b"") == digest
    assert [] == list(content.content.Read(pb.ReadContentRequest(digest=digest)))


def test_statuses_tell_of_ingests_and_filters_choose_among_them(content: Wire) -> None:
    for ref in ("a/1", "b"):
        content.write(pb.WriteContentRequest(action=pb.WRITE, ref=ref, data=DATA, total=9999, expected=ABSENT))
    statuses = content.content.ListStatuses(pb.ListStatusesRequest()).statuses

    assert [("a/1", len(DATA), 9999, ABSENT), ("b", len(DATA), 9999, ABSENT)] == [
        (status.ref, status.offset, status.total, status.expected) for status in statuses
    ]
    assert statuses[0] == content.content.Status(pb.StatusRequest(ref="a/1")).status
    assert statuses[0].started_at.seconds > 1_500_000_000
    chosen = content.content.ListStatuses(pb.ListStatusesRequest(filters=["ref==b"])).statuses
    assert ["b"] == [status.ref for status in chosen]
    content.content.Abort(pb.AbortRequest(ref="b"))
    assert ["a/1"] == [status.ref for status in content.content.ListStatuses(pb.ListStatusesRequest()).statuses]


@pytest.mark.parametrize("namespace", ["", "-a", "a-", "a..b", "a b", "a" * 77, "a/b"])
def test_a_malformed_namespace_is_an_invalid_argument(content: Wire, namespace: str) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "namespace"):
        content.content.Info(pb.InfoRequest(digest=ABSENT), metadata=(("containerd-namespace", namespace),))


def test_all_namespaces_share_the_store_and_leases_are_ignored(content: Wire) -> None:
    digest = content.store(DATA)
    for namespace in ("default", "k8s.io", "a" * 76):
        headers = (("containerd-namespace", namespace), ("containerd-lease", "some"))
        assert digest == content.content.Info(pb.InfoRequest(digest=digest), metadata=headers).info.digest
