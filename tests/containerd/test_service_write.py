"""The Write call: each rule of its stream, by a plain client."""

from __future__ import annotations

import time
from contextlib import suppress

import grpc
import pytest
from grpc import StatusCode

from steelyard_bench._proto import content_pb2 as pb

from .wire import SECONDS, Wire, refused, sha256

DATA = bytes(range(256)) * 20
OTHER = b"other" * 1000
ABSENT = "sha256:" + "0" * 64
INT64 = 2**63 - 1
EMPTY = sha256(b"")


def offset_of(content: Wire, ref: str) -> int:
    offset: int = content.content.Status(pb.StatusRequest(ref=ref)).status.offset
    return offset


def is_stored(content: Wire, digest: str) -> bool:
    return digest in {info.digest for page in content.content.List(pb.ListContentRequest()) for info in page.info}


def wait_until_free(content: Wire, ref: str) -> pb.WriteContentResponse:
    """Open a ref as soon as it is free. There is nothing else to wait for: a client that is gone sends no notice."""
    deadline = time.monotonic() + SECONDS
    while True:
        assert time.monotonic() < deadline
        call = content.content.Write(iter([pb.WriteContentRequest(ref=ref)]))
        with suppress(grpc.RpcError):
            response: pb.WriteContentResponse = next(call)
            return response
        assert call.code() is StatusCode.UNAVAILABLE


def test_every_response_has_digest_offset_total_and_times(content: Wire) -> None:
    talk = content.talk()
    responses = [
        (talk.ask(pb.STAT, ref="ns/1/a", total=len(DATA)), 0, b""),
        (talk.ask(pb.WRITE, data=DATA[:7]), 7, DATA[:7]),
        (talk.ask(pb.STAT), 7, DATA[:7]),
        (talk.ask(pb.WRITE, offset=7), 7, DATA[:7]),
        (talk.ask(pb.COMMIT, offset=7, data=DATA[7:]), len(DATA), DATA),
    ]
    for response, offset, data in responses:
        assert (offset, len(DATA), sha256(data)) == (response.offset, response.total, response.digest)
        assert response.started_at.seconds > 1_500_000_000
        assert response.updated_at.ToDatetime() >= response.started_at.ToDatetime()
    assert [pb.STAT, pb.WRITE, pb.STAT, pb.WRITE, pb.COMMIT] == [response.action for response, *_ in responses]
    assert [] == talk.end()


def test_the_first_message_must_have_a_ref(content: Wire) -> None:
    for action in (pb.STAT, pb.WRITE, pb.COMMIT):
        with refused(StatusCode.INVALID_ARGUMENT, "ref"):
            content.write(pb.WriteContentRequest(action=action, data=b"" if action == pb.STAT else b"x"))
    assert [] == list(content.content.ListStatuses(pb.ListStatusesRequest()).statuses)


def test_a_stream_without_a_message_is_an_invalid_argument(content: Wire) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "request"):
        content.write()


def test_only_the_first_message_chooses_the_ref(content: Wire) -> None:
    talk = content.talk()
    talk.ask(ref="a")
    talk.ask(pb.WRITE, ref="other", data=DATA)
    assert len(DATA) == offset_of(content, "a")
    with refused(StatusCode.NOT_FOUND, "other"):
        offset_of(content, "other")


def test_a_held_ref_is_unavailable_and_the_message_says_who_holds_it(content: Wire) -> None:
    talk = content.talk()
    talk.ask(pb.WRITE, ref="held", data=DATA)
    with refused(StatusCode.UNAVAILABLE, "held", "this process"):
        content.write(pb.WriteContentRequest(ref="held"))
    assert [] == talk.end()
    assert len(DATA) == wait_until_free(content, "held").offset


def test_the_end_of_the_stream_keeps_the_ingest(content: Wire) -> None:
    content.write(pb.WriteContentRequest(action=pb.WRITE, ref="kept", data=DATA[:10], total=len(DATA)))
    talk = content.talk()
    resumed = talk.ask(ref="kept")

    assert (10, sha256(DATA[:10]), len(DATA)) == (resumed.offset, resumed.digest, resumed.total)
    assert sha256(DATA) == talk.ask(pb.COMMIT, offset=10, data=DATA[10:], expected=sha256(DATA)).digest
    with refused(StatusCode.NOT_FOUND, "kept"):
        offset_of(content, "kept")


@pytest.mark.parametrize("offset", [1, 9, 11, INT64])
@pytest.mark.parametrize("action", [pb.WRITE, pb.COMMIT])
def test_another_offset_than_the_current_one_is_out_of_range(
    content: Wire, offset: int, action: pb.WriteAction
) -> None:
    talk = content.talk()
    talk.ask(pb.WRITE, ref="a", data=DATA[:10])
    with refused(StatusCode.OUT_OF_RANGE, "ingest a", str(offset), "10"):
        talk.ask(action, offset=offset, data=DATA)
    assert 10 == wait_until_free(content, "a").offset


def test_offset_zero_starts_over_also_for_an_empty_commit(content: Wire) -> None:
    talk = content.talk()
    talk.ask(pb.WRITE, ref="a", data=DATA)
    again = talk.ask(pb.WRITE, data=OTHER)
    emptied = talk.ask(pb.WRITE)

    assert (len(OTHER), sha256(OTHER)) == (again.offset, again.digest)
    assert (0, EMPTY) == (emptied.offset, emptied.digest)
    talk.ask(pb.WRITE, data=DATA)
    committed = talk.ask(pb.COMMIT)
    assert (0, EMPTY) == (committed.offset, committed.digest)
    assert is_stored(content, EMPTY)


def test_nothing_is_compared_with_total_before_the_commit(content: Wire) -> None:
    talk = content.talk()
    talk.ask(ref="a", total=3)

    assert 3 == talk.ask(pb.WRITE, data=DATA).total
    with refused(StatusCode.FAILED_PRECONDITION, "ingest a", "3", str(len(DATA))):
        talk.ask(pb.COMMIT, offset=len(DATA))
    assert len(DATA) == wait_until_free(content, "a").offset


def test_total_and_expected_may_change_and_the_last_ones_count(content: Wire) -> None:
    talk = content.talk()
    talk.ask(ref="a", total=3, expected=ABSENT)
    assert 4 == talk.ask(total=4, expected=sha256(b"never")).total
    talk.ask(pb.WRITE, data=DATA)

    assert sha256(DATA) == talk.ask(pb.COMMIT, offset=len(DATA), total=len(DATA), expected=sha256(DATA)).digest


def test_a_wrong_digest_keeps_the_bytes_for_another_try(content: Wire) -> None:
    commit = pb.WriteContentRequest(action=pb.COMMIT, ref="a", data=DATA, expected=ABSENT)
    with refused(StatusCode.FAILED_PRECONDITION, "ingest a", ABSENT, sha256(DATA)):
        content.write(commit)
    assert not is_stored(content, sha256(DATA))

    talk = content.talk()
    assert (len(DATA), sha256(DATA)) == ((kept := talk.ask(ref="a")).offset, kept.digest)
    assert sha256(DATA) == talk.ask(pb.COMMIT, offset=len(DATA), expected=sha256(DATA)).digest


def test_a_label_that_is_too_long_keeps_the_bytes(content: Wire) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, "label"):
        content.write(pb.WriteContentRequest(action=pb.COMMIT, ref="a", data=DATA, labels={"k": "v" * 5000}))
    assert len(DATA) == wait_until_free(content, "a").offset


def test_labels_count_on_the_commit_only(content: Wire) -> None:
    talk = content.talk()
    talk.ask(ref="a", labels={"early": "1"})
    talk.ask(pb.WRITE, data=DATA, labels={"early": "2"})
    digest = talk.ask(pb.COMMIT, offset=len(DATA), labels={"late": "3", "none": ""}).digest

    assert {"late": "3"} == dict(content.content.Info(pb.InfoRequest(digest=digest)).info.labels)


def test_committing_what_is_stored_already_exists_and_drops_the_ingest(content: Wire) -> None:
    digest = content.store(DATA)
    for expected in ("", digest):
        talk = content.talk()
        talk.ask(pb.WRITE, ref="again", data=DATA)
        with refused(StatusCode.ALREADY_EXISTS, digest):
            talk.ask(pb.COMMIT, offset=len(DATA), expected=expected)
        with refused(StatusCode.NOT_FOUND, "again"):
            offset_of(content, "again")


def test_an_expected_digest_that_is_stored_already_exists_at_once(content: Wire) -> None:
    digest = content.store(DATA)
    content.write(pb.WriteContentRequest(action=pb.WRITE, ref="a", data=OTHER))
    with refused(StatusCode.ALREADY_EXISTS, digest):
        content.write(pb.WriteContentRequest(ref="a", expected=digest))
    with refused(StatusCode.NOT_FOUND, "a"):
        offset_of(content, "a")


def test_an_expected_digest_that_is_stored_ends_a_stream_and_its_ingest(content: Wire) -> None:
    digest = content.store(DATA)
    talk = content.talk()
    talk.ask(pb.WRITE, ref="a", data=OTHER)
    with refused(StatusCode.ALREADY_EXISTS, digest):
        talk.ask(expected=digest)
    with refused(StatusCode.NOT_FOUND, "a"):
        offset_of(content, "a")


@pytest.mark.parametrize("algorithm", ["sha384", "sha512", "blake3"])
def test_the_expected_digest_chooses_the_algorithm(content: Wire, algorithm: str) -> None:
    headers = (("steelyard-algorithm", algorithm),)
    digest = content.write(pb.WriteContentRequest(action=pb.COMMIT, ref="a", data=DATA), metadata=headers)[-1].digest
    assert algorithm == digest.partition(":")[0]
    content.content.Delete(pb.DeleteContentRequest(digest=digest))

    talk = content.talk()
    talk.ask(pb.WRITE, ref="b", data=DATA)
    assert digest == talk.ask(pb.COMMIT, offset=len(DATA), expected=digest).digest


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"expected": "sha256:abc"}, "sha256:abc"),
        ({"ref": "r" * ((1 << 20) + 1)}, "ref"),
    ],
)
def test_what_cannot_be_is_an_invalid_argument(content: Wire, fields: dict[str, object], word: str) -> None:
    with refused(StatusCode.INVALID_ARGUMENT, word):
        content.write(pb.WriteContentRequest(**{"ref": "a"} | fields))  # type: ignore[arg-type]


def test_an_enormous_total_is_a_total(content: Wire) -> None:
    assert INT64 == content.write(pb.WriteContentRequest(ref="a", total=INT64))[0].total


def test_a_ref_is_any_text_however_long(content: Wire) -> None:
    for ref in ("../../etc/passwd", "a\0b", "ö" * 500_000):
        content.write(pb.WriteContentRequest(action=pb.WRITE, ref=ref, data=DATA))
        assert len(DATA) == offset_of(content, ref)
        content.content.Abort(pb.AbortRequest(ref=ref))
        with refused(StatusCode.NOT_FOUND, ref[:3]):  # the message is cut, so that it fits into a header
            offset_of(content, ref)


def test_an_abort_fences_the_writer(content: Wire) -> None:
    talk = content.talk()
    talk.ask(pb.WRITE, ref="a", data=DATA)
    content.content.Abort(pb.AbortRequest(ref="a"))
    with refused(StatusCode.ABORTED, "ingest a"):
        talk.ask(pb.WRITE, offset=len(DATA), data=DATA)
    assert 0 == wait_until_free(content, "a").offset


def test_a_client_that_cancels_frees_the_ref_and_its_bytes_are_there(content: Wire) -> None:
    talk = content.talk()
    talk.ask(pb.WRITE, ref="a", data=DATA)
    talk.cancel()

    assert (len(DATA), sha256(DATA)) == ((kept := wait_until_free(content, "a")).offset, kept.digest)


def test_large_messages_come_through_whole(content: Wire) -> None:
    data = DATA * 2000  # 10 MiB
    talk = content.talk()
    talk.ask(pb.WRITE, ref="a", data=data[:1000])
    talk.ask(pb.WRITE, offset=1000, data=data[1000:])
    digest = talk.ask(pb.COMMIT, offset=len(data)).digest

    assert sha256(data) == digest
    assert data == content.read(digest)


def test_our_own_client_is_not_kept_waiting_for_the_hash(content: Wire) -> None:
    data = DATA * 20
    talk = content.talk((("steelyard-exact", "1"),))
    begun = talk.ask(pb.STAT, ref="large", total=3 * len(data))
    answers = [talk.ask(pb.WRITE, offset=offset, data=data) for offset in (0, len(data))]
    asked = talk.ask(pb.STAT)
    total = talk.ask(pb.WRITE, offset=2 * len(data), data=data, total=4 * len(data)).total
    with refused(StatusCode.OUT_OF_RANGE, "large"):
        talk.ask(pb.WRITE, offset=1, data=data)

    assert [(len(data), ""), (2 * len(data), "")] == [(answer.offset, answer.digest) for answer in answers]
    assert {(begun.started_at.seconds, 3 * len(data))} == {(each.started_at.seconds, each.total) for each in answers}
    assert (2 * len(data), sha256(data * 2)) == (asked.offset, asked.digest)
    assert 4 * len(data) == total


def test_any_other_client_gets_a_digest_with_each_answer(content: Wire) -> None:
    data = DATA * 20
    talk = content.talk()
    talk.ask(pb.STAT, ref="large")

    assert sha256(data) == talk.ask(pb.WRITE, data=data).digest
