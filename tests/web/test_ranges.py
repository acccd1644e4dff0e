"""The field Range: examples of RFC 9110, and fields without end compared with another reading of it."""

from __future__ import annotations

import random
import sys
import time
from itertools import pairwise

import pytest

from steelyard import MemoryStore
from steelyard.web import BlobResponse
from steelyard.web._ranges import RANGES_LIMIT, ByteRange, requested

from .asking import ask, parts
from .oracle import Expected, expected, generated

pytestmark = pytest.mark.anyio

SIZES = (0, 1, 2, 90, 700)


@pytest.fixture(autouse=True)
def _long_numbers() -> None:
    """Have the oracle read numbers of any length."""
    sys.set_int_max_str_digits(0)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes=0-499", (ByteRange(0, 500),)),
        ("bytes=500-999", (ByteRange(500, 1000),)),
        ("bytes=-500", (ByteRange(9500, 10000),)),
        ("bytes=9500-", (ByteRange(9500, 10000),)),
        ("bytes=0-0,-1", (ByteRange(0, 1), ByteRange(9999, 10000))),
        ("bytes= 0-0, 4500-5499, -1000", (ByteRange(0, 1), ByteRange(4500, 5500), ByteRange(9000, 10000))),
        ("bytes=500-600,601-999", (ByteRange(500, 1000),)),
        ("bytes=500-700,601-999", (ByteRange(500, 1000),)),
    ],
)
def test_the_examples_of_the_rfc(value: str, found: tuple[ByteRange, ...]) -> None:
    """They are in section 14.1.2, for a representation of 10,000 bytes."""
    assert found == requested(value, 10000)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=x",
            "bytes=1",
            "bytes=-",
            "bytes=5-2",
            "bytes=0-1,5-2",
            "bytes=0-1;2-3",
        ),
        "items=0-1",
        "bytes=0-1 2-3",
        "bytes=٠-١",
        "bytes:0-1",
        "bytes=0-1\x00",
        "bytes=0--1",
        "bytes=" + "9" * 5000 + "-0",
    ],
)
def test_what_is_malformed_or_of_another_unit_is_ignored(value: str) -> None:
    assert requested(value, 10000) is None


@pytest.mark.parametrize(
    "value", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", "bytes=20000-30000,-0", "bytes=" + "9" * 5000 + "-"]
)
def test_what_the_blob_does_not_have_cannot_be_satisfied(value: str) -> None:
    assert () == requested(value, 10000)


def test_ranges_close_to_each_other_are_one_in_the_place_of_the_first() -> None:
    value = "bytes=900-909, 0-9, 5000-5009, 20-29, 905-950"

    assert (ByteRange(900, 951), ByteRange(0, 30), ByteRange(5000, 5010)) == requested(value, 10000)


def test_overlapping_ranges_send_no_byte_twice() -> None:
    assert (ByteRange(0, 10000),) == requested("bytes=" + ",".join(["0-"] * RANGES_LIMIT), 10000)


def test_more_than_the_limit_is_refused() -> None:
    spread = [f"{place * 100}-{place * 100}" for place in range(RANGES_LIMIT + 1)]

    assert RANGES_LIMIT == len(requested("bytes=" + ",".join(spread[:-1]), 1 << 20) or ())
    assert () == requested("bytes=" + ",".join(spread), 1 << 20)


@pytest.mark.parametrize(
    "value",
    [
        "bytes=" + ",".join(f"{place}-{place}" for place in range(0, 20000, 2)),
        "bytes=" + ",".join(f"{place}-" for place in range(10000)),
        "bytes=" + "," * 100_000,
        "bytes=" + ",".join(["5-2"] * 10_000),
        "bytes=" + "1" * 100_000 + "-" + "2" * 100_000,
        "bytes=" + " " * 100_000 + "0-1",
        "bytes=" + "-" * 100_000,
        "bytes" * 20_000,
    ],
    ids=["10,000", "10,000 overlapping", "commas", "reversed", "digits", "spaces", "dashes", "no sign"],
)
def test_a_hostile_field_takes_less_than_five_milliseconds(value: str) -> None:
    best = 1.0
    for _ in range(10):
        start = time.perf_counter()
        requested(value, 1 << 30)
        best = min(best, time.perf_counter() - start)

    assert best < 0.005


def check(found: Expected, wanted: Expected, value: str) -> None:
    """Compare ranges with those that were asked for: the same bytes, gaps of up to 80 bytes aside, in the same order."""
    status, ranges = found
    assert wanted[0] == status, value
    asked = {byte for first, last in wanted[1] for byte in range(first, last + 1)}
    sent = [byte for first, last in ranges for byte in range(first, last + 1)]
    assert len(set(sent)) == len(sent), value
    assert asked <= set(sent), value
    for first, last in ranges:
        assert {first, last} <= asked, value
        inside = sorted(asked & set(range(first, last + 1)))
        assert all(after - before <= 81 for before, after in pairwise(inside)), value
    homes = [next(place for place, (a, b) in enumerate(ranges) if a <= first <= b) for first, _ in wanted[1]]
    assert list(dict.fromkeys(homes)) == list(range(len(ranges))), value


async def compare(count: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    choose = random.Random(seed)
    kinds: dict[int, int] = {}
    async with MemoryStore() as store:
        blobs = {size: choose.randbytes(size) for size in SIZES}
        responses = {size: BlobResponse(store, (await store.put(data)).digest) for size, data in blobs.items()}
        for _ in range(count):
            size = choose.choice(SIZES)
            value = generated(choose, size)
            wanted = expected(value, size)
            answer = await ask(responses[size], headers={"Range": value})
            kinds[answer.status] = kinds.get(answer.status, 0) + 1
            found = []
            assert str(len(answer.body)) == answer.fields["content-length"], value
            if answer.status == 200:
                assert blobs[size] == answer.body, value
            elif answer.status == 416:
                assert f"bytes */{size}" == answer.fields["content-range"], value
            elif "content-range" in answer.fields:
                found = [_range(answer.fields["content-range"], answer.body, blobs[size])]
            else:
                found = [_range(place, data, blobs[size]) for _, place, data in parts(answer)]
                assert len(found) > 1, value
            check((answer.status, found), wanted, value)
    print(kinds)
    assert {200, 206, 416} == kinds.keys()


def _range(field: str, data: bytes, blob: bytes) -> tuple[int, int]:
    unit, _, rest = field.partition(" ")
    place, _, size = rest.partition("/")
    first, _, last = place.partition("-")
    assert ("bytes", str(len(blob))) == (unit, size)
    assert blob[int(first) : int(last) + 1] == data
    return int(first), int(last)


async def test_generated_fields_get_what_they_ask_for() -> None:
    await compare(2_000)


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_hundred_thousand_generated_fields() -> None:
    await compare(100_000)
