"""Fields of HTTP, pauses, files of digests and URLs, by themselves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from steelyard._http_fields import digest_in_field
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument
from steelyard.fetch import FetchItem, Retries, Sums
from steelyard.fetch._address import parse_url
from steelyard.fetch._earlier import EarlierIngests, joined, proof_of_validator, validator_of_proof
from steelyard.fetch._headers import content_range, retry_after, strong_validator
from steelyard.fetch._pauses import Pauses, Transient
from steelyard.model import Status

ONE, TWO = "1" * 64, "2" * 64
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"etag": '"a"'}, '"a"'),
        ({"etag": '""'}, '""'),
        ({"etag": 'W/"a"'}, None),
        ({"etag": "a"}, None),
        ({"etag": '"a", "b"'}, None),
        ({"etag": '"\x7f"'}, None),
        ({"etag": f'"{"a" * 1001}"'}, None),
        ({"last-modified": "Mon, 30 Nov 2026 12:00:00 GMT"}, None),
        ({"last-modified": "Mon, 30 Nov 2026 12:00:00 GMT", "date": "Mon, 30 Nov 2026 12:00:59 GMT"}, None),
        (
            {"last-modified": "Mon, 30 Nov 2026 12:00:00 GMT", "date": "Mon, 30 Nov 2026 12:01:00 GMT"},
            "Mon, 30 Nov 2026 12:00:00 GMT",
        ),
        ({"last-modified": "yesterday", "date": "Mon, 30 Nov 2026 12:01:00 GMT"}, None),
        (
            {"last-modified": f"Mon, 30 Nov {'9' * 20} 12:00:00 GMT", "date": "Mon, 30 Nov 2026 12:01:00 GMT"},
            None,
        ),
        ({"last-modified": "30 Feb 2026 12:00:00 GMT", "date": "Mon, 30 Nov 2026 12:01:00 GMT"}, None),
    ],
)
def test_only_a_strong_validator_counts(headers: dict[str, str], expected: str | None) -> None:
    assert expected == strong_validator(headers)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 1-2/3", (1, 2, 3)),
        ("bytes 0-0/*", (0, 0, None)),
        ("bytes */3", (None, None, 3)),
        (None, None),
        ("", None),
        ("bytes 2-1/3", None),
        ("bytes 1-3/3", None),
        ("bytes -1-3/3", None),
        ("bytes 1-2/3, 4-5/3", None),
        ("bytes 1-2", None),
        (f"bytes 0-{'9' * 30}/*", None),
    ],
)
def test_a_content_range_has_sense_or_is_none(value: str | None, expected: object) -> None:
    assert expected == content_range(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("7", 7.0),
        ("0", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("Mon, 30 Nov 2026 12:00:07 GMT", 7.0),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0.0),
        ("9" * 20, None),
        (f"Mon, 30 Nov {'9' * 20} 12:00:00 GMT", None),
        (f"Mon, 30 Nov 2026 {'9' * 20}:00:00 GMT", None),
    ],
)
def test_a_retry_after_is_a_number_or_a_time(value: str | None, expected: float | None) -> None:
    assert expected == retry_after(value, now=NOON)


def test_a_digest_counts_if_it_is_one_of_the_right_algorithm() -> None:
    encoded = "nQzGfHFcmzaMo++yQ6zWoRzSRN6ElnRTFFqQ0WmXZ2Q="
    found = digest_in_field(f"sha-512=:AA==:, sha-256=:{encoded}:", Algorithm.SHA256)

    assert found is not None
    assert found.encoded.startswith("9d0cc67c715c9b36")
    assert digest_in_field(f"sha-256=:{encoded}:", Algorithm.SHA512) is None
    assert digest_in_field(f"sha-256=:{encoded}:", Algorithm.BLAKE3) is None
    for wrong in ("sha-256=:AA==:", "sha-256=:A:", f"sha-256={encoded}", f"md5=:{encoded}:", "", None):
        assert digest_in_field(wrong, Algorithm.SHA256) is None


def test_pauses_grow_are_random_and_are_never_shorter_than_asked() -> None:
    for _ in range(20):
        pauses = Pauses(Retries(attempts=5, first_seconds=1, most_seconds=3))
        found = [pauses.next(Transient(""), 0) for _ in range(5)]
        assert found[4] is None
        bounds = (1, 2, 3, 3)
        assert all(pause is not None and 0 <= pause <= bound for pause, bound in zip(found, bounds, strict=False))

    pauses = Pauses(Retries(attempts=5, first_seconds=1, most_seconds=3))
    assert 3 == pauses.next(Transient("", seconds=3), 0)
    assert pauses.next(Transient("", seconds=3.5), 0) is None


def test_only_bytes_beyond_all_earlier_attempts_are_progress() -> None:
    pauses = Pauses(Retries(attempts=2))
    assert pauses.next(Transient(""), 5 << 20) is not None
    assert pauses.next(Transient(""), 6 << 20) is not None
    assert pauses.next(Transient(""), 6 << 20) is None


def test_sums_of_all_programs_are_understood() -> None:
    sums = Sums.parse(
        f"# comment\n\n{ONE}  plain\n{TWO} *binary\r\n\\{ONE}  a\\\\b\\nc\n{'3' * 128}  long\n"
        f"SHA256 (bsd file) = {TWO.upper()}\nSHA384 (other) = {'4' * 96}\nBLAKE3 (fast) = {ONE}\nMD5 (old) = {'5' * 32}\n"
        f"{'6' * 40}  sha1\nSHA256 (short) = 12\n-----BEGIN SIGNATURE-----\n"
    )

    assert 7 == len(sums)
    assert Digest.parse(f"sha256:{ONE}") == sums.digest_of("https://host/files/plain?key=1")
    assert Digest.parse(f"sha256:{TWO}") == sums.digest_of("https://host/binary")
    assert Digest.parse(f"sha256:{TWO}") == sums.digest_of("https://host/bsd%20file")
    assert Digest.parse(f"sha512:{'3' * 128}") == sums.digest_of("long")
    assert Digest.parse(f"sha384:{'4' * 96}") == sums.digest_of("./other")
    assert Digest.parse(f"blake3:{ONE}") == sums.digest_of("fast")
    assert Digest.parse(f"sha256:{ONE}") == sums.digest_of("a\\b\nc")
    assert sums.digest_of("https://host/old") is sums.digest_of("https://host/") is None


def test_the_longest_name_that_the_path_ends_with_counts() -> None:
    sums = Sums.parse(f"{ONE}  ./file\n{TWO}  deep/file\n")

    assert f"sha256:{TWO}" == str(sums.digest_of("https://host/deep/file"))
    assert f"sha256:{ONE}" == str(sums.digest_of("https://host/other/file"))
    assert sums.digest_of("https://host/myfile") is None


def test_only_the_path_of_a_url_is_decoded() -> None:
    sums = Sums.parse(f"{ONE}  50%20.txt\n{TWO}  50 .txt\n")

    assert f"sha256:{ONE}" == str(sums.digest_of("files/50%20.txt"))
    assert f"sha256:{TWO}" == str(sums.digest_of("https://host/files/50%20.txt"))
    with pytest.raises(InvalidArgument, match="expected a valid host"):
        sums.digest_of("https://[host/file")


def test_a_password_of_any_bytes_is_sent_as_it_is() -> None:
    assert "Basic bWU6/zo=" == parse_url("https://me:%ff%3a@host/").authorization


def test_sums_that_contradict_each_other_or_have_none_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="expected one digest of 'a'"):
        Sums.parse(f"{ONE}  a\n{TWO}  a\n")
    with pytest.raises(InvalidArgument, match="found none"):
        Sums.parse("<html>not here</html>\n")
    assert f"sha256:{ONE}" == str(Sums.parse(f"{ONE}  a\n{'3' * 128}  a\n").digest_of("a"))


def test_the_ref_of_a_url_has_no_secret() -> None:
    address = parse_url("https://me:secret@Example.org:443/a/b?key=secret#part")

    assert "https://example.org/a/b" == address.shown
    assert "https://example.org/a/b?key=secret" == address.url
    assert address.ref.startswith("fetch:https://example.org/a/b?")
    assert "secret" not in address.ref + repr(address)
    assert address.ref != parse_url("https://example.org/a/b?key=other").ref
    assert "fetch:http://[::1]:8080/" == parse_url("http://[::1]:8080").ref
    assert "secret" not in repr(FetchItem(url="https://me:secret@host/?secret", headers={"a": "secret"}))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("https://a/", "https://a/b", True),
        ("http://a/", "https://a/", True),
        ("https://a/", "http://a/", False),
        ("http://a:8080/", "https://a/", False),
        ("https://a/", "https://a:8443/", False),
        ("https://a/", "https://b.a/", False),
    ],
)
def test_credentials_stay_at_one_host(first: str, second: str, expected: bool) -> None:
    assert expected is parse_url(first).trusts(parse_url(second))


@pytest.mark.parametrize("base", ["a", "a etag:b", "a\nb", "fetch:https://host/a b"])
@pytest.mark.parametrize("validator", ['"x"', "Mon, 30 Nov 2026 12:00:00 GMT", '"sha256:x"'])
def test_an_ingest_is_found_by_the_base_of_its_ref(base: str, validator: str) -> None:
    proof = proof_of_validator(validator)
    status = Status(ref=joined(base, proof), offset=1, total=2, expected=None, started_at=NOON, updated_at=NOON)

    assert (proof, status) == EarlierIngests([status]).newest(base, Algorithm.SHA256)
    assert validator == validator_of_proof(proof)
    assert EarlierIngests([status]).newest("b", Algorithm.SHA256) is None


@pytest.mark.parametrize(
    ("proof", "expected"), [(f"sha256:{ONE}", True), (f"blake3:{ONE}", False), ("sha256:x", False), ("once:x", False)]
)
def test_an_ingest_of_a_digest_is_found_for_its_algorithm(proof: str, expected: bool) -> None:
    status = Status(ref=joined("a", proof), offset=1, total=2, expected=None, started_at=NOON, updated_at=NOON)

    assert expected == (EarlierIngests([status]).newest("a", Algorithm.SHA256) is not None)
