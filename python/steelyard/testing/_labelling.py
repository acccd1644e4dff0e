"""Labels: the only mutable part of a blob."""

from __future__ import annotations

from typing import Any

import pytest

from steelyard.content import Store
from steelyard.errors import InvalidArgument, InvalidLabel, NotFound
from steelyard.model import LABEL_LIMIT, Info, Labels
from steelyard.testing._values import digest_of, keep, now


def named(info: Info, **labels: str) -> Info:
    """Return an `Info` for `update`: the digest of a blob, and labels."""
    return Info(digest=info.digest, size=0, created_at=now(), updated_at=now(), labels=Labels(labels))


@pytest.mark.anyio
class LabellingContract:
    """containerd's Labels, and the limits."""

    async def test_update_without_a_path_replaces_all_labels(self, store: Store) -> None:
        info = await store.info(await keep(store, b"data", a="1", b="2"))
        for paths in ((), ("labels",), ("labels", "labels.b")):
            updated = await store.update(named(info, c="3"), *paths)

            assert {"c": "3"} == updated.labels
            assert updated == await store.info(info.digest)
            await store.update(named(info, a="1", b="2"))

    async def test_update_with_paths_changes_those_keys_and_removes_absent_ones(self, store: Store) -> None:
        info = await store.info(await keep(store, b"data", a="1", b="2", d="4"))
        updated = await store.update(named(info, a="one", c="3", d="ignored"), "labels.a", "labels.b", "labels.c")

        assert {"a": "one", "c": "3", "d": "4"} == updated.labels
        assert updated == await store.info(info.digest)

    async def test_update_changes_no_time_but_updated_at(self, store: Store) -> None:
        info = await store.info(await keep(store, b"data"))
        before = now()
        updated = await store.update(named(info, a="1"))

        assert before <= updated.updated_at <= now()
        assert (info.digest, info.size, info.created_at) == (updated.digest, updated.size, updated.created_at)

    async def test_reading_changes_no_time(self, store: Store) -> None:
        info = await store.info(await keep(store, b"data"))
        await store.get(info.digest)
        async with store.reader_at(info.digest) as reader:
            await reader.read_at(0, 4)

        assert info == await store.info(info.digest)

    @pytest.mark.parametrize(
        "path", ["", "size", "digest", "labels.", "label.a", "labelsa", "created_at", "labels.a.b ", "x.labels"]
    )
    async def test_update_refuses_a_path_that_cannot_change(self, store: Store, path: str) -> None:
        info = await store.info(await keep(store, b"data", a="1"))
        if path == "labels.a.b ":  # a key may have any characters
            assert {"a": "1", "a.b ": "2"} == (await store.update(named(info, **{"a.b ": "2"}), path)).labels
            return
        with pytest.raises(InvalidArgument):
            await store.update(named(info, a="2"), "labels.a", path)

        assert info == await store.info(info.digest)

    async def test_update_of_a_missing_blob_is_not_found(self, store: Store) -> None:
        missing = Info(digest=digest_of(b"missing"), size=0, created_at=now(), updated_at=now())
        with pytest.raises(NotFound):
            await store.update(missing)
        with pytest.raises(NotFound):
            await store.update(missing, "labels.a")

    @pytest.mark.parametrize(
        "labels",
        [
            {"k" * 1000: "v" * (LABEL_LIMIT - 1000)},
            {"ключ": "ü" * 100},
            {"containerd.io/gc.ref.content.0": "a=b,c d\n\t\x00"},
            {"empty": ""},
            {" ": " "},
            {str(number): "x" * 100 for number in range(200)},
        ],
    )
    async def test_any_text_within_the_limit_is_a_label(self, store: Store, labels: dict[str, str]) -> None:
        await store.put(b"data", labels=labels)
        assert labels == (await store.info(digest_of(b"data"))).labels
        await store.delete(digest_of(b"data"))
        async with store.writer("ref") as writer:
            await writer.write(b"data")
            info = await writer.commit(labels=labels)
        assert labels == info.labels == (await store.info(info.digest)).labels

        await store.update(named(info))
        assert labels == (await store.update(named(info, **labels), *(f"labels.{key}" for key in labels))).labels

    @pytest.mark.parametrize(
        ("key", "value", "size"),
        [("k", "v" * LABEL_LIMIT, 4097), ("k" * LABEL_LIMIT, "v", 4097), ("ü" * 2048, "v", 4097), ("", "v", 1)],
    )
    async def test_a_label_over_the_limit_names_its_key_and_size(
        self, store: Store, key: str, value: str, size: int
    ) -> None:
        with pytest.raises(InvalidLabel) as caught:
            await store.put(b"data", labels={"fine": "label", key: value})

        assert key[:99] == caught.value.key[:99]
        assert (size, LABEL_LIMIT) == (caught.value.size, caught.value.allowed)
        assert not await store.exists(digest_of(b"data"))

    @pytest.mark.parametrize("labels", [{"\ud800": "key"}, {"value": "\udfff"}])
    async def test_a_label_that_is_no_unicode_text_is_refused(self, store: Store, labels: dict[str, str]) -> None:
        with pytest.raises(InvalidArgument):
            await store.put(b"data", labels=labels)

        assert not await store.exists(digest_of(b"data"))

    async def test_labels_of_a_stored_blob_survive_another_put(self, store: Store) -> None:
        digest = await keep(store, b"data", a="1")
        again: dict[str, Any] = {"labels": {"a": "2"}}

        assert not (await store.put(b"data", **again)).new
        assert {"a": "1"} == (await store.info(digest)).labels
