"""Image names: mutable names for descriptors."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from steelyard.content import Store
from steelyard.errors import AlreadyExists, InvalidArgument, InvalidFilter, InvalidLabel, NameMoved, NotFound
from steelyard.model import LABEL_LIMIT, Descriptor, Image, Labels
from steelyard.names import NAME_LIMIT
from steelyard.testing._values import digest_of, keep, now

NAME = "docker.io/library/alpine:3.20"


def target(data: bytes = b"data", **annotations: str) -> Descriptor:
    """Return a descriptor for a name."""
    return Descriptor(digest=digest_of(data), size=len(data), media_type="text/plain", annotations=Labels(annotations))


def replaced(image: Image, **fields: object) -> Image:
    """Return the image with other fields."""
    return msgspec.structs.replace(image, **fields)


@pytest.mark.anyio
class NamingContract:
    """Store.images."""

    async def test_a_new_name_holds_its_target_and_labels(self, store: Store) -> None:
        before = now()
        image = await store.images.create(NAME, target(a="b"), labels={"c": "d"})

        assert (NAME, target(a="b"), Labels({"c": "d"})) == (image.name, image.target, image.labels)
        assert before <= image.created_at == image.updated_at <= now()
        assert image == await store.images.get(NAME)
        assert [image] == await store.images.list()

    async def test_a_descriptor_may_have_only_a_digest(self, store: Store) -> None:
        least = Descriptor(digest=digest_of(b"data"))
        await store.images.create(NAME, least)

        assert least == (await store.images.get(NAME)).target

    async def test_a_name_and_its_blob_are_independent(self, store: Store) -> None:
        await store.images.create(NAME, target())
        await keep(store, b"data")
        await store.delete(digest_of(b"data"))

        assert target() == (await store.images.get(NAME)).target
        await keep(store, b"data")
        await store.images.delete(NAME)
        assert await store.exists(digest_of(b"data"))

    async def test_a_name_that_exists_cannot_be_created(self, store: Store) -> None:
        image = await store.images.create(NAME, target())
        for again in (target(), target(b"other")):
            with pytest.raises(AlreadyExists) as caught:
                await store.images.create(NAME, again)
            assert (NAME, image.target.digest) == (caught.value.name, caught.value.digest)

        assert image == await store.images.get(NAME)

    @pytest.mark.parametrize(
        "name", ["", "\ud800", "x" * (NAME_LIMIT + 1), "ü" * (NAME_LIMIT // 2 + 1), "a\n", "\x1b[m", "\x9b"]
    )
    async def test_an_invalid_name_is_refused(self, store: Store, name: str) -> None:
        with pytest.raises(InvalidArgument):
            await store.images.create(name, target())
        with pytest.raises(InvalidArgument):
            await store.images.assign({NAME: target(), name: target()})
        for call in (store.images.get, store.images.delete):
            with pytest.raises(InvalidArgument):
                await call(name)

        assert [] == await store.images.list()

    @pytest.mark.parametrize("name", ["a", "A b/../ü%_*'\"", "x" * NAME_LIMIT, "sha256:00", " "])
    async def test_any_other_text_is_a_name(self, store: Store, name: str) -> None:
        image = await store.images.create(name, target())

        assert image == await store.images.get(name)
        await store.images.delete(name)

    async def test_a_label_over_the_limit_makes_no_name(self, store: Store) -> None:
        for labels in ({"k": "v" * LABEL_LIMIT}, {"": "v"}):
            with pytest.raises(InvalidLabel):
                await store.images.create(NAME, target(), labels=labels)

        assert [] == await store.images.list()

    async def test_names_are_assigned_all_or_none(self, store: Store) -> None:
        held = await store.images.create("b", target(b"held"), labels={"l": "1"})
        with pytest.raises(AlreadyExists) as caught:
            await store.images.assign({"a": target(), "b": target(), "c": target()})

        assert "b" == caught.value.name
        assert [held] == await store.images.list()
        made = await store.images.assign({"c": target(), "b": target(b"held"), "a": target()}, labels={"l": "2"})
        assert ["c", "b", "a"] == [image.name for image in made]
        assert held == made[1]
        assert [made[2], made[1], made[0]] == await store.images.list()
        assert [] == await store.images.assign({})

    async def test_overwriting_moves_a_name_and_keeps_its_creation_time(self, store: Store) -> None:
        first = await store.images.create(NAME, target(), labels={"l": "1"})
        (second,) = await store.images.assign({NAME: target(b"other")}, overwrite=True)
        (third,) = await store.images.assign({NAME: target(b"other")}, labels={"l": "2"}, overwrite=True)

        assert (target(b"other"), Labels({"l": "1"}), first.created_at) == (
            second.target,
            second.labels,
            second.created_at,
        )
        assert {"l": "2"} == third.labels
        assert first.updated_at <= second.updated_at <= third.updated_at
        assert third == await store.images.get(NAME)

    async def test_update_changes_only_the_fields_of_its_paths(self, store: Store) -> None:
        image = await store.images.create(NAME, target(), labels={"a": "1", "b": "2", "d": "4"})
        given = replaced(image, target=target(b"other"), labels=Labels({"a": "one", "c": "3"}))
        for paths, moved, labels in (
            (("labels.a", "labels.b", "labels.c"), False, {"a": "one", "c": "3", "d": "4"}),
            (("target",), True, {"a": "1", "b": "2", "d": "4"}),
            (("target", "labels.b"), True, {"a": "1", "d": "4"}),
            (("labels",), False, {"a": "one", "c": "3"}),
            (("labels", "labels.b"), False, {"a": "one", "c": "3"}),
            ((), True, {"a": "one", "c": "3"}),
        ):
            updated = await store.images.update(given, *paths)

            assert (given.target if moved else image.target, Labels(labels)) == (updated.target, updated.labels), paths
            assert updated == await store.images.get(NAME)
            assert image.created_at == updated.created_at
            assert image.updated_at <= updated.updated_at <= now()
            await store.images.update(image)

    @pytest.mark.parametrize("path", ["", "name", "labels.", "created_at", "target.digest"])
    async def test_update_refuses_a_path_that_cannot_change(self, store: Store, path: str) -> None:
        image = await store.images.create(NAME, target())
        with pytest.raises(InvalidArgument):
            await store.images.update(replaced(image, target=target(b"other")), "target", path)

        assert image == await store.images.get(NAME)

    async def test_an_absent_name_is_not_found(self, store: Store) -> None:
        time = datetime(2026, 1, 1, tzinfo=UTC)
        missing = Image(name=NAME, target=target(), created_at=time, updated_at=time)
        for call in (store.images.get(NAME), store.images.delete(NAME), store.images.update(missing)):
            with pytest.raises(NotFound) as caught:
                await call
            assert ("image name", NAME) == (caught.value.kind, caught.value.name)

    async def test_a_name_with_another_digest_than_expected_is_not_changed(self, store: Store) -> None:
        image = await store.images.create(NAME, target())
        other = replaced(image, target=target(b"other"))
        for call in (
            store.images.update(other, expected=digest_of(b"wrong")),
            store.images.delete(NAME, expected=str(digest_of(b"wrong"))),
        ):
            with pytest.raises(NameMoved) as caught:
                await call
            assert (digest_of(b"wrong"), digest_of(b"data")) == (caught.value.expected, caught.value.actual)

        assert image == await store.images.get(NAME)
        assert other.target == (await store.images.update(other, expected=str(digest_of(b"data")))).target
        await store.images.delete(NAME, expected=digest_of(b"other"))
        assert [] == await store.images.list()

    async def test_filters_choose_names(self, store: Store) -> None:
        await store.images.create("b:1", target(b"1"), labels={"env": "prod", "dotted.key": "x"})
        await store.images.create("a:1", target(b"22"))
        await store.images.create("a:2", Descriptor(digest=digest_of(b"333")), labels={"env": "test"})
        created = (await store.images.get("a:1")).created_at.isoformat()

        for filters, expected in (
            ([], ["a:1", "a:2", "b:1"]),
            (["name~=^a:"], ["a:1", "a:2"]),
            (["name==b:1", "labels.env==test"], ["a:2", "b:1"]),
            (["labels.env"], ["a:2", "b:1"]),
            (["labels.dotted.key==x"], ["b:1"]),
            ([f"digest=={digest_of(b'22')}"], ["a:1"]),
            (["media_type==text/plain"], ["a:1", "b:1"]),
            (["size>=2"], ["a:1"]),
            ([f'created_at<="{created}"'], ["a:1", "b:1"]),
            (["labels.none"], []),
        ):
            assert expected == [image.name for image in await store.images.list(*filters)], filters
        with pytest.raises(InvalidFilter):
            await store.images.list("name=")
