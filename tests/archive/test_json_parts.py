"""Large JSON documents are decoded in parts: with the same result as at once, and never more than 64 KiB at a time."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard._archive import _json
from steelyard.images import media_types, parse_document, parse_index, parse_saved_images
from steelyard.images.documents import Index, Manifest, SavedImage

DIGEST = "sha256:" + 64 * "0"
LARGE = 4 << 20

names = st.sampled_from(["a", "b", 'c"]', "Config", "RepoTags", "Layers", "manifests", "urls", "size", "schemaVersion"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", '\\"[', "{é", DIGEST]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=30,
)


def descriptor(number: int, **more: object) -> dict[str, object]:
    return {"mediaType": "x/y", "digest": DIGEST, "size": number} | more


def read(data: bytes, kind: object, most: int) -> object:
    """Decode in parts of `most` bytes, or return the place and the reason of the error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json, "PART", most)
        try:
            return _json.decode(data, kind)
        except msgspec.ValidationError as error:
            return "fault", *re.fullmatch(r"(.*?)(?: - at `(.*)`)?", str(error)).groups("$")  # type: ignore[union-attr]
        except msgspec.DecodeError:
            return "no JSON"


@given(values, st.integers(2, 60), st.sampled_from([None, 1]))
def test_any_value_is_the_same_in_parts(value: Any, most: int, indent: int | None) -> None:
    data = json.dumps(value, indent=indent).encode()

    assert read(data, Any, most) == value


@given(st.binary(max_size=30) | st.text('[]{},:"a1 ', max_size=30).map(str.encode), st.integers(2, 20))
def test_what_is_no_json_is_none_in_parts(data: bytes, most: int) -> None:
    assert read(data, Any, most) == read(data, Any, 1000)


DOCUMENTS: list[tuple[object, Any]] = [
    (Index, {"schemaVersion": 2, "manifests": [descriptor(n, urls=["u", "v"]) for n in range(4)], "unknown": [[1, 2]]}),
    (Index, {"schemaVersion": 2, "manifests": None, "annotations": {"a": "1", "b": "2"}, "subject": descriptor(1)}),
    (Manifest, {"schemaVersion": 2, "config": descriptor(1, annotations={"k": "v"}), "layers": [descriptor(2)]}),
    (Manifest, {"schemaVersion": 2, "layers": [descriptor(2)]}),
    (Manifest, {"config": descriptor(1), "layers": []}),
    (Manifest, {"schemaVersion": 2, "config": descriptor(1), "layers": [descriptor(n) for n in (3, 2, 1, 0, -1)]}),
    (Manifest, {"schemaVersion": 2, "config": descriptor(1, urls=["a", 1]), "layers": []}),
    (Manifest, {"schemaVersion": 2, "config": [1, [2, 3]], "layers": []}),
    (Manifest, {"schemaVersion": 2, "config": descriptor(1), "layers": {"a": [1, 2]}}),
    (Index, {"schemaVersion": 2, "manifests": [descriptor(1, annotations={"k": [1, 2, 3]})]}),
    (tuple[SavedImage, ...], [{"Config": "c", "RepoTags": ["a", "b"], "Layers": list("abcdef")}, {"Config": "d"}]),
    (tuple[SavedImage, ...], [{"Config": "c", "Layers": None}, {"Config": "c", "Layers": ["a", "b", 7]}]),
    (tuple[SavedImage, ...], {"Config": "c"}),
]


@pytest.mark.parametrize(("kind", "value"), DOCUMENTS)
def test_views_and_errors_are_the_same_in_parts(kind: object, value: Any) -> None:
    data = json.dumps(value).encode()
    whole = read(data, kind, len(data))

    for most in range(2, len(data)):
        assert read(data, kind, most) == whole


def large(element: object, text: str) -> bytes:
    """Put so many elements into a document, in place of ``"@"``, that it has almost 4 MiB."""
    one = json.dumps(element).encode()
    return text.encode().replace(b'"@"', b",".join([one] * ((LARGE - 1000) // (len(one) + 1))))


def members(text: str) -> bytes:
    """Put many members into an object of a document, in place of ``"@"``."""
    return text.encode().replace(b'"@"', b",".join(b'"%d":"%d"' % (number, number) for number in range(200_000)))


CONFIG, MANIFEST = media_types.OCI_CONFIG, media_types.OCI_MANIFEST
ONE = json.dumps(descriptor(1))
LARGE_DOCUMENTS: dict[str, tuple[Callable[[], bytes], Any]] = {
    "manifests": (lambda: large(descriptor(1), '{"schemaVersion":2,"manifests":["@"]}'), parse_index),
    "manifest's urls": (
        lambda: large("u", f'{{"schemaVersion":2,"manifests":[{ONE[:-1]},"urls":["@"]}}]}}'),
        parse_index,
    ),
    "annotations": (lambda: members('{"schemaVersion":2,"manifests":[],"annotations":{"@"}}'), parse_index),
    "unknown": (lambda: large(0, '{"schemaVersion":2,"manifests":[],"unknown":[["@"]]}'), parse_index),
    "unknown members": (lambda: members('{"schemaVersion":2,"manifests":[],"@"}'), parse_index),
    "layers": (lambda: large(descriptor(1), f'{{"schemaVersion":2,"config":{ONE},"layers":["@"]}}'), MANIFEST),
    "diff_ids": (lambda: large(DIGEST, '{"rootfs":{"type":"layers","diff_ids":["@"]}}'), CONFIG),
    "history": (lambda: large({"created_by": "RUN true"}, '{"history":["@"]}'), CONFIG),
    "config": (lambda: large("A=b", '{"config":{"Env":["@"]}}'), CONFIG),
    "saved images": (lambda: large({"Config": "c", "Layers": []}, '["@"]'), parse_saved_images),
    "saved layers": (lambda: large("l", '[{"Config":"c","Layers":["@"]}]'), parse_saved_images),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE_DOCUMENTS)
def test_no_more_than_64_kib_are_decoded_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, parse = LARGE_DOCUMENTS[name]
    data = make()
    sizes: list[int] = []
    decode = msgspec.json.decode

    def counted(data: Any, **options: Any) -> Any:
        sizes.append(memoryview(data).nbytes)
        return decode(data, **options)

    monkeypatch.setattr(msgspec.json, "decode", counted)
    with longest_wait() as waited:
        document = parse_document(data, parse) if isinstance(parse, str) else parse(data)
    document.value()

    assert len(data) > 2 << 20
    assert max(sizes) <= 64 << 10
    print(f"{name}: {len(data)} bytes, {len(sizes)} parts, another thread waited for {waited():.1f} ms at worst")


class longest_wait:  # noqa: N801  # used like a function
    """Tell how long another thread had to wait for the GIL at worst, in milliseconds. This is for people only."""

    def __enter__(self) -> Any:
        self._worst, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._beat)
        self._thread.start()
        return lambda: self._worst * 1e3 - sys.getswitchinterval() * 1e3

    def _beat(self) -> None:
        while not self._stop.is_set():
            before = time.perf_counter()
            time.sleep(0.0005)
            self._worst = max(self._worst, time.perf_counter() - before)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
