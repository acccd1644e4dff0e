"""Digests: what is one, what is none, and how each kind of nonsense is told apart."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, InvalidDigest, InvalidDigestLength, UnsupportedAlgorithm
from steelyard.hashing import Hasher

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

hexes = {algorithm: st.text("0123456789abcdef", min_size=n, max_size=n) for algorithm, n in
         ((each, each.encoded_length) for each in Algorithm)}  # fmt: skip
digests = st.sampled_from(list(Algorithm)).flatmap(
    lambda algorithm: st.builds(Digest, st.just(algorithm), hexes[algorithm])
)


@given(digests)
def test_a_digest_round_trips_through_text_repr_and_pickle(digest: Digest) -> None:
    assert digest == Digest.parse(str(digest))
    assert digest == eval(repr(digest), {"Digest": Digest})
    assert digest == pickle.loads(pickle.dumps(digest))
    assert hash(digest) == hash(Digest.parse(str(digest)))
    assert Digest.parse(digest) is digest


@given(digests, digests)
def test_digests_are_ordered_as_their_texts(one: Digest, two: Digest) -> None:
    assert (str(one) < str(two)) == (one < two)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        ":" + "0" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "A" * 64,
        "SHA256:" + "0" * 64,
        "sha256:" + "0" * 63 + "\n",
        EMPTY + "\n",
        EMPTY + " ",
        " " + EMPTY,
        EMPTY.replace(":", "::"),
        "sha256:../../../etc/passwd",
        "sha256:" + "0" * 32 + "/" + "0" * 31,
        "sha256:" + "٠" * 64,
        "sha256:0\0",
        "sha256+:00",
        "a..b:00",
        "foo:",
        "foo:b!r",
        "x" * 1_000_000,
    ],
    ids=lambda text: repr(text[:80]),
)
def test_malformed_text_is_distinguished_from_a_wrong_length_and_a_foreign_algorithm(text: str) -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse(text)

    assert type(caught.value) is InvalidDigest
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("off", [-64, -1, 1, 64])
def test_a_wrong_length_says_which_lengths(algorithm: Algorithm, off: int) -> None:
    length = max(1, algorithm.encoded_length + off)

    with pytest.raises(InvalidDigestLength) as caught:
        Digest.parse(f"{algorithm}:{'a' * length}")

    assert (algorithm.encoded_length, length) == (caught.value.expected, caught.value.actual)
    with pytest.raises(InvalidDigestLength):
        Digest(algorithm, "a" * length)


@pytest.mark.parametrize("text", ["md5:d41d8cd98f00b204e9800998ecf8427e", "sha1:00", "multihash+base58:QmRZxt2b_-=x"])
def test_a_foreign_algorithm_is_unsupported_not_malformed(text: str) -> None:
    with pytest.raises(UnsupportedAlgorithm) as caught:
        Digest.parse(text)

    assert text.partition(":")[0] == caught.value.algorithm


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("md5", UnsupportedAlgorithm),
        ("sha3-256", UnsupportedAlgorithm),
        ("sha3.", InvalidDigest),
        ("SHA256", InvalidDigest),
        ("", InvalidDigest),
        ("sha256 ", InvalidDigest),
        ("sha256\n", InvalidDigest),
    ],
)
def test_python_and_the_core_agree_on_algorithm_names(name: str, error: type[InvalidDigest]) -> None:
    for parse in (Algorithm.parse, Hasher):
        with pytest.raises(error) as caught:
            parse(name)

        assert type(caught.value) is error


@pytest.mark.parametrize("wrong", [None, 7, b"sha256:00", object()], ids=lambda wrong: type(wrong).__name__)
def test_what_is_not_text_is_an_invalid_digest(wrong: object) -> None:
    with pytest.raises(InvalidDigest):
        Digest.parse(wrong)  # type: ignore[arg-type]


def test_every_digest_error_is_an_invalid_argument_and_a_value_error() -> None:
    for error in (InvalidDigest, InvalidDigestLength, UnsupportedAlgorithm):
        assert issubclass(error, InvalidArgument)
        assert issubclass(error, ValueError)


@pytest.mark.parametrize("algorithm", [each for each in Algorithm if each != "blake3"])
def test_sizes_are_those_of_hashlib(algorithm: Algorithm) -> None:
    assert hashlib.new(algorithm).digest_size == algorithm.digest_size
    assert hashlib.new(algorithm).digest_size * 2 == algorithm.encoded_length


def test_a_digest_cannot_be_changed() -> None:
    digest = Digest.parse(EMPTY)

    with pytest.raises(AttributeError):
        digest.encoded = "0" * 64  # type: ignore[misc]
