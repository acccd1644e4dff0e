"""The filter language as users meet it; the core's own tables hold every corner of the grammar."""

from __future__ import annotations

import pickle
import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard import filters
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument, InvalidFilter
from steelyard.filters import Filter, image_fields, info_fields, lease_fields, status_fields
from steelyard.model import Descriptor, Image, Info, Labels, Lease, Status

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DIGEST = Digest("sha256", "ab" * 32)  # type: ignore[arg-type]
INFO = Info(
    digest=DIGEST,
    size=4096,
    created_at=NOON,
    updated_at=NOON + timedelta(microseconds=1),
    labels=Labels({"a": "1", "a.b": "dotted", "empty": "", "io.x/y-z": "é, ü"}),
)
STATUS = Status(ref="layer/1 of 2", offset=10, total=None, expected=DIGEST, started_at=NOON, updated_at=NOON)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], True),
        ([""], True),
        (["nothing", ""], True),
        (["nothing"], False),
        (["digest"], True),
        ([f"digest=={DIGEST}"], True),
        (["digest~=^sha256:(ab){32}$"], True),
        (["digest.more"], False),
        (["labels"], False),
        (["labels.a==1"], True),
        (["labels.a==1,labels.missing"], False),
        (["labels.missing", "labels.a"], True),
        (["labels.a.b==dotted"], True),
        (['labels."a.b"==dotted'], True),
        (['labels.a."b"=="dotted"'], True),
        (['labels."io.x/y-z"=="é, ü"'], True),
        ([r'labels."io.x/y-z"=="\u00e9, \xc3\xbc"'], True),
        (['labels.empty==""'], True),
        (['labels.missing==""'], False),
        (["labels.missing!=x"], True),
        (["labels.missing~=.*"], True),
        (["labels.missing~=.+"], False),
        (["labels.a~=/^[0-9]$/"], True),
        (["labels.a~=|^[a-z]$|"], False),
        ([r"labels.a~=^\d$"], True),
        ([r'labels.a~="^\\d$"'], True),
        ([" size == 4KiB, labels.a"], True),
        (["size!=4096"], False),
        (["size<4096"], False),
        (["size<=4096,size>=4KiB"], True),
        (["size>4095"], True),
        (["size>1GiB"], False),
        (["created_at==2026-01-31T12:00:00Z"], True),
        (["created_at==2026-01-31T13:00:00.000000+01:00"], True),
        (["created_at!=2026-01-31T12:00:00Z"], False),
        (["updated_at>2026-01-31T12:00:00Z"], True),
        (["updated_at<2026-01-31T12:00:00.000001Z"], False),
        (["offset>=0"], False),
        (["ref"], False),
    ],
    ids=str,
)
def test_a_blob_matches_or_not(texts: list[str], expected: bool) -> None:
    assert expected is filters.compile(*texts).matches(info_fields(INFO))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ref=="layer/1 of 2"', True),
        ("ref~=^layer/", True),
        ("ref", True),
        ("offset==10,offset<11", True),
        ("offset>1KiB", False),
        ("total", False),
        ("total>0", False),
        ("total!=5", True),
        ("expected~=^sha256", True),
        ("started_at<=2026-01-31T12:00:00Z", True),
        ("updated_at>2026-01-31T12:00:00Z", False),
        ("digest", False),
        ("labels.a", False),
    ],
)
def test_an_ingest_matches_or_not(text: str, expected: bool) -> None:
    assert expected is filters.compile(text).matches(status_fields(STATUS))


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        (" ", 1, "expected a field"),
        ("a,", 2, "expected a field"),
        ("'a'==b", 0, "expected a field"),
        ("labels.a-b==c", 8, '""'),
        ("a=b", 1, "operator"),
        ("a===b", 1, "operator"),
        ("a=~b", 1, "operator"),
        ("a ,b", 2, "operator"),
        ("a==b ", 4, "comma or the end"),
        ("a==b c", 4, "comma or the end"),
        ("a==", 3, "expected a value"),
        ("a==/b/", 3, "quote"),
        ('a=="b', 3, "not closed"),
        (r'é=="\d"', 0, "expected a field"),
        (r'"é"=="\d"', 6, "no such escape"),
        ("a\0", 1, "NUL"),
        ("a==\ud800", 3, "Unicode"),
        ('a=="\udcff"', 4, "Unicode"),
        ("a~=(", 3, "regular expression"),
        ("a~=(?=b)", 3, "regular expression"),
        ("digest<5", 6, "digest is text"),
        ("size~=5", 4, "size is a size"),
        ("size>5KB", 5, "bytes"),
        ("created_at>today", 11, "RFC 3339"),
    ],
    ids=repr,
)
def test_an_invalid_filter_is_refused_with_its_place(text: str, position: int, reason: str) -> None:
    with pytest.raises(InvalidFilter, match="filter") as caught:
        filters.compile("ok", text)

    assert position == caught.value.position
    assert reason in caught.value.reason
    assert isinstance(caught.value, InvalidArgument)
    assert caught.value.args == pickle.loads(pickle.dumps(caught.value)).args


def test_a_wrong_filter_is_found_behind_an_empty_one() -> None:
    with pytest.raises(InvalidFilter):
        filters.compile("", "a=b")


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001
def test_a_time_as_it_is_printed_equals_itself_and_orders_its_neighbours(time: datetime, zone: int) -> None:
    time = time.replace(tzinfo=timezone(timedelta(minutes=zone)))
    fields = info_fields(Info(digest=DIGEST, size=0, created_at=time.astimezone(UTC), updated_at=time))
    before, after = (time + timedelta(microseconds=step) for step in (-1, 1))

    assert filters.compile(f"created_at=={time.isoformat()},updated_at=={time.isoformat()}").matches(fields)
    assert filters.compile(f"created_at>{before.isoformat()},created_at<{after.isoformat()}").matches(fields)


@given(st.text(min_size=1), st.text())
def test_every_label_can_be_asked_for(key: str, value: str) -> None:
    def quoted(text: str) -> str:
        return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'

    fields = info_fields(Info(digest=DIGEST, size=0, created_at=NOON, updated_at=NOON, labels=Labels({key: value})))

    assert filters.compile(f"labels.{quoted(key)}=={quoted(value)}").matches(fields)
    assert not filters.compile(f"labels.{quoted(key)}!={quoted(value)}").matches(fields)


@given(st.text(max_size=30))
def test_any_text_compiles_or_is_an_invalid_filter(text: str) -> None:
    position = 0
    try:
        filters.compile(text).matches(info_fields(INFO))
    except InvalidFilter as error:
        position = error.position

    assert 0 <= position <= len(text)


def test_an_exception_of_the_lookup_is_raised() -> None:
    def failing(path: tuple[str, ...]) -> str | None:
        raise ZeroDivisionError(path)

    with pytest.raises(ZeroDivisionError, match="labels"):
        filters.compile("labels.a", "labels.b").matches(failing)


def test_fields_are_those_that_can_be_looked_up() -> None:
    image = Image(name="n", target=Descriptor(digest=DIGEST, size=1, media_type="m"), created_at=NOON, updated_at=NOON)
    status = Status(ref="r", offset=1, total=2, expected=DIGEST, started_at=NOON, updated_at=NOON)
    lease = Lease(id="l", created_at=NOON, expires_at=NOON)
    for names, fields in (
        (filters.BLOB_FIELDS, info_fields(INFO)),
        (filters.INGEST_FIELDS, status_fields(status)),
        (filters.IMAGE_FIELDS, image_fields(image)),
        (filters.LEASE_FIELDS, lease_fields(lease)),
    ):
        assert all(fields((name,)) is not None for name in names if name != "labels.KEY"), names


def test_a_filter_tells_its_fields() -> None:
    assert [("labels", "a", "b"), ("size",), ("digest",)] == filters.compile('labels.a.b,"size">1', "digest").paths
    assert [] == filters.compile().paths


def test_several_things_are_chosen_as_each_by_itself() -> None:
    chosen = filters.compile("labels.env~=^p", "size>5000", "labels.none==x")
    infos = [
        msgspec.structs.replace(INFO, size=size, labels=labels)
        for size in (1, 9999)
        for labels in (INFO.labels, Labels())
    ]
    looks = [info_fields(info) for info in infos]

    assert [chosen.matches(look) for look in looks] == chosen.native.choose(looks)
    with pytest.raises(ZeroDivisionError):
        chosen.native.choose([lambda _: 1 // 0])


def test_other_threads_run_while_a_filter_is_compiled() -> None:
    compiling = threading.Event()

    def compile_dear() -> None:
        compiling.set()
        filters.compile(*("digest~=(?i)(?:" + r"\pL" * 600 + f"){{0}}{number}" for number in range(10)))
        compiling.clear()

    thread = threading.Thread(target=compile_dear)
    thread.start()
    compiling.wait(30)
    beats = 0
    while compiling.is_set():
        time.sleep(0.001)
        beats += 1
    thread.join()

    assert beats >= 5  # with the GIL held, at most a few before it begins


def test_a_filter_remembers_its_texts() -> None:
    assert ("a", "b==c") == Filter("a", "b==c").texts
    assert "Filter('a', 'b==c')" == repr(Filter("a", "b==c"))


@pytest.mark.parametrize("wrong", [5, None, b"a"], ids=repr)
def test_what_is_not_text_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError):
        filters.compile(wrong)  # type: ignore[arg-type]
