"""`Hasher` against hashlib and the blake3 package: vectors, cuts, states, buffers, threads."""

from __future__ import annotations

import array
import ctypes
import hashlib
import mmap
import pickle
import random
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.digest import Algorithm
from steelyard.errors import FailedPrecondition, InvalidArgument, SteelyardError, UnsupportedAlgorithm
from steelyard.hashing import Hasher
from steelyard.model import Buffer

MIB = 1 << 20
SHA2 = [Algorithm.SHA256, Algorithm.SHA384, Algorithm.SHA512]


def reference(algorithm: str, data: bytes) -> str:
    """The digest as independent implementations give it."""
    encoded = blake3.blake3(data).hexdigest() if algorithm == "blake3" else hashlib.new(algorithm, data).hexdigest()
    return f"{algorithm}:{encoded}"


def digest(algorithm: str, data: Buffer) -> str:
    hasher = Hasher(algorithm)
    hasher.update(data)
    return str(hasher.digest())


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize(
    "size", [0, 1, 55, 56, 63, 64, 111, 112, 128, 1024, 1025, 65_536, MIB - 1, MIB, MIB + 1, 5 * MIB]
)
def test_lengths_around_blocks_and_subtrees_agree_with_other_implementations(algorithm: Algorithm, size: int) -> None:
    data = random.Random(size).randbytes(size)

    assert reference(algorithm, data) == digest(algorithm, data)


@given(st.lists(st.binary(max_size=3000), max_size=8), st.sampled_from(list(Algorithm)))
def test_any_cuts_give_the_digest_of_the_whole_at_every_step(parts: list[bytes], algorithm: Algorithm) -> None:
    hasher = Hasher(algorithm)
    for index, part in enumerate(parts):
        hasher.update(part)
        seen = b"".join(parts[: index + 1])

        assert len(seen) == hasher.offset
        assert reference(algorithm, seen) == str(hasher.digest())


def test_several_algorithms_go_in_one_pass_and_keep_their_order() -> None:
    names = ["sha512", "blake3", "sha256", "sha384"]
    hasher = Hasher(*names)
    data = random.Random(1).randbytes(300_000)
    hasher.update(data[:100])
    hasher.update(data[100:])

    assert [reference(name, data) for name in names] == [str(each) for each in hasher.digests()]
    assert tuple(names) == hasher.algorithms
    with pytest.raises(InvalidArgument, match="digests"):
        hasher.digest()


def test_the_algorithm_is_sha256_unless_said_otherwise() -> None:
    assert (Algorithm.SHA256,) == Hasher().algorithms


def test_nonsense_algorithms_are_refused() -> None:
    with pytest.raises(UnsupportedAlgorithm):
        Hasher("sha256", "md5")
    with pytest.raises(InvalidArgument, match="once"):
        Hasher("sha256", "sha256")


def test_a_copy_goes_its_own_way() -> None:
    one = Hasher("sha256", "blake3")
    one.update(b"a" * 5000)
    two = one.copy()
    two.update(b"b")

    assert reference("sha256", b"a" * 5000) == str(one.digests()[0])
    assert reference("blake3", b"a" * 5000 + b"b") == str(two.digests()[1])
    assert "<Hasher sha256, blake3 at 5001>" == repr(two)


@given(st.binary(max_size=700), st.binary(max_size=700))
def test_a_state_goes_on_where_it_was_taken(before: bytes, after: bytes) -> None:
    hasher = Hasher(*SHA2)
    hasher.update(before)
    restored = Hasher.from_state(bytearray(hasher.state()))

    assert len(before) == restored.offset
    assert hasher.algorithms == restored.algorithms

    restored.update(after)

    assert [reference(name, before + after) for name in SHA2] == [str(each) for each in restored.digests()]


@pytest.mark.parametrize("offset", [0, 2 * MIB, 3 * MIB, 4 * MIB, 7 * MIB])
def test_blake3_has_a_state_at_whole_subtrees(offset: int) -> None:
    data = random.Random(offset).randbytes(offset + 100)
    hasher = Hasher("blake3")
    hasher.update(data[:offset])
    restored = Hasher.from_state(hasher.state())

    assert reference("blake3", data[:offset]) == str(restored.digest())

    restored.update(data[offset:])

    assert reference("blake3", data) == str(restored.digest())
    assert len(hasher.state()) <= 2600


@pytest.mark.parametrize("offset", [1, 1024, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB + 1])
def test_blake3_has_no_state_at_other_offsets_and_says_so(offset: int) -> None:
    hasher = Hasher("sha256", "blake3")
    hasher.update(bytes(offset))

    with pytest.raises(FailedPrecondition, match="blake3"):
        hasher.state()


def test_a_state_cut_between_its_algorithms_is_refused() -> None:
    hasher = Hasher("sha512", "sha256")
    alone = Hasher("sha512").state()

    with pytest.raises(InvalidArgument, match="hash state"):
        Hasher.from_state(hasher.state()[: len(alone)])


@given(st.data())
def test_a_damaged_state_is_refused(data: st.DataObject) -> None:
    hasher = Hasher("sha512", "sha256")
    hasher.update(b"x" * 1234)
    state = bytearray(hasher.state())
    index = data.draw(st.integers(0, len(state) - 1))
    state[index] ^= data.draw(st.integers(1, 255))
    for wrong in (bytes(state), hasher.state()[:index], hasher.state() + b"\0"):
        with pytest.raises(InvalidArgument, match="hash state"):
            Hasher.from_state(wrong)


@given(st.binary(max_size=300))
def test_garbage_is_no_state(garbage: bytes) -> None:
    with pytest.raises(InvalidArgument):
        Hasher.from_state(garbage)


def test_an_error_of_the_core_pickles_as_any_other() -> None:
    with pytest.raises(SteelyardError) as caught:
        Hasher("md5")
    again = pickle.loads(pickle.dumps(caught.value))

    assert str(caught.value) == str(again)
    assert "md5" == again.algorithm


class OwnBytes(bytes):
    """A subclass of `bytes`, which goes another way than `bytes` itself."""


BUFFERS: dict[str, Callable[[bytes], Buffer]] = {
    "bytes": bytes,
    "subclass of bytes": OwnBytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "writable memoryview": lambda data: memoryview(bytearray(data)),
    "part of a memoryview": lambda data: memoryview(b"xx" + data + b"yy")[2:-2],
    "signed memoryview": lambda data: memoryview(data or b"x").cast("b")[: len(data)],
    "memoryview of chars": lambda data: memoryview(data or b"x").cast("c")[: len(data)],
    "array": lambda data: array.array("B", data),
    "signed array": lambda data: array.array("b", data),
    "ctypes": lambda data: (ctypes.c_char * len(data)).from_buffer_copy(data),
}


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("size", [0, 10, 2047, 2048, 5000])
def test_every_contiguous_buffer_of_bytes_is_taken(kind: str, size: int) -> None:
    data = b"\x81\x00\xff" * size

    assert reference("sha256", data) == digest("sha256", BUFFERS[kind](data))


def test_a_mapped_file_is_taken() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"mapped" * 1000)
        file.flush()
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert reference("sha256", b"mapped" * 1000) == digest("sha256", mapped)


@pytest.mark.parametrize(
    "wrong",
    [
        memoryview(bytes(8))[::2],
        memoryview(bytes(8))[::-1],
        memoryview(bytes(8)).cast("I"),
        memoryview(bytes(8)).cast("B", (2, 4)),
        array.array("H", [1, 2]),
        array.array("d", []),
    ],
    ids=["gaps", "backwards", "wide view", "two dimensions", "wide array", "empty wide array"],
)
def test_a_buffer_with_gaps_wide_items_or_more_dimensions_is_refused(wrong: Buffer) -> None:
    hasher = Hasher()

    with pytest.raises(BufferError):
        hasher.update(wrong)
    assert 0 == hasher.offset


@pytest.mark.parametrize("wrong", ["text", 5, None, [1, 2], pytest.param(object(), id="object")], ids=repr)
def test_what_is_no_buffer_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError):
        Hasher().update(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_buffer_is_released_when_the_call_ends(size: int) -> None:
    data = bytearray(size)
    Hasher().update(data)
    data.append(0)  # BufferError while it is exported
    wide = array.array("H", bytes(size))
    with pytest.raises(BufferError):
        Hasher().update(wide)
    wide.append(0)


def test_threads_on_one_hasher_lose_no_update() -> None:
    hasher = Hasher("sha256", "blake3")
    with ThreadPoolExecutor(4) as pool:
        for size in [1, 2047, 2048, 100_000] * 8:
            pool.submit(hasher.update, bytes(size))
    total = (1 + 2047 + 2048 + 100_000) * 8

    assert total == hasher.offset
    assert [reference(name, bytes(total)) for name in ("sha256", "blake3")] == [str(each) for each in hasher.digests()]
