"""The cache of values that were used last."""

from __future__ import annotations

from steelyard._runtime.lru import LruCache


def test_the_least_recently_used_value_goes_first() -> None:
    cache: LruCache[str, int] = LruCache(3)
    for name in "abc":
        cache.add(name, ord(name))
    cache.get("a")
    cache.add("a", 1)
    cache.add("d", 4, 2)

    assert [1, None, None, 4] == [cache.get(name) for name in "abcd"]
    cache.add("large", 5, 100)
    assert [None, 5] == [cache.get("a"), cache.get("large")]
    assert 1 == len(cache)


def test_a_cleared_cache_has_room_for_as_much_as_a_new_one() -> None:
    cache: LruCache[int, str] = LruCache(2)
    cache.add(1, "one", 2)
    cache.clear()
    cache.add(2, "two")
    cache.add(3, "three")

    assert [None, "two", "three"] == [cache.get(number) for number in (1, 2, 3)]
