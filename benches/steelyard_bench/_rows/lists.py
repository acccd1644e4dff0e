"""Row 12: listing a large store, and finding few blobs of it by a label."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from steelyard.local import LocalStore
from steelyard_bench._inside import run
from steelyard_bench._model import Contestant, Goal, Material, Row, Scale, Work
from steelyard_bench._sources import blocking

__all__ = ("listing",)

GROUPS = 100
"""One of them is 1 % of the blobs."""

BLOB = 64
LIST, FILTER = "list all", "find 1 % by a label"


@dataclass(frozen=True)
class Labelled:
    """A store whose blobs have two labels each, and a table that says the same.

    Attributes:
        store: is open.
        root: of the store.
        table: of SQLite.
        count: blobs.
    """

    store: LocalStore
    root: Path
    table: Path
    count: int


def listing(scale: Scale) -> Row[Labelled]:
    """Row 12: 100,000 blobs with their labels in at most 120 ms, 1 % of them by a label in at most 2 ms."""
    count = max(GROUPS, scale(100_000))
    return Row(
        number=12,
        title=f"{count:,} blobs with two labels each",
        payload=None,
        material=_labelled(count),
        contestants=(
            _walking("steelyard, list", LIST, count),
            _contestant("SQLite, list", _query_all, LIST, "one query of one table; rows become tuples"),
            _contestant("scandir", _scan, LIST, "names and sizes only: a stat for each"),
            _walking("steelyard, filter", FILTER, count // GROUPS, 'labels."example.com/group"==g7'),
            _contestant("SQLite, filter", _query_some, FILTER, "an index on the label"),
        ),
        goals=(
            Goal(
                contestant="steelyard, list",
                at_most=0.120,
                to=None,
                metric="seconds",
                reason="one query of one table takes 130 ms here, without a look whether the files are there. "
                "Next: values of Python that are made only when they are asked for",
            ),
            Goal(
                contestant="steelyard, filter",
                at_most=0.002,
                to=None,
                metric="seconds",
                reason="the core takes three quarters of it, mostly for 1,000 rows that are spread over a tree of 20 MB. "
                "Next: labels and times in one index, which is another format",
            ),
        ),
    )


def _labelled(count: int) -> Material[Labelled]:
    @asynccontextmanager
    async def material(folder: Path) -> AsyncIterator[Labelled]:
        root, table = folder / "store", folder / "table.db"
        async with LocalStore(root, durability="process-crash") as store:
            for group in range(GROUPS):
                labels = {"example.com/group": f"g{group}", "example.com/kind": "bench"}
                blobs = [os.urandom(BLOB) for _ in range(count // GROUPS)]
                async with aclosing(store.put_many(blobs, labels=labels)) as results:
                    async for _ in results:
                        pass
        async with LocalStore(root) as store:
            rows = [(str(info.digest), info.size, *info.labels.values()) async for info in store.walk()]
            await run(_fill, table, rows)
            yield Labelled(store, root, table, len(rows))

    return material


def _walking(name: str, section: str, expected: int, *filters: str) -> Contestant[Labelled]:
    @asynccontextmanager
    async def start(material: Labelled, _: Path) -> AsyncIterator[Work]:
        yield partial(_walk, material.store, material.count // GROUPS if filters else material.count, filters)

    return Contestant(
        name=name, kind="steelyard", start=start, durable=None, section=section, algorithm="", items=expected
    )


async def _walk(store: LocalStore, expected: int, filters: tuple[str, ...]) -> None:
    found = [info async for info in store.walk(*filters)]
    if len(found) != expected:
        raise AssertionError(f"{len(found)} blobs found, {expected} expected")


def _contestant(name: str, function: Callable[[Labelled, Path], None], section: str, note: str) -> Contestant[Labelled]:
    return Contestant(
        name=name,
        kind="yardstick",
        start=blocking(function),
        durable=None,
        note=note,
        section=section,
        algorithm="",
    )


def _fill(table: Path, rows: list[tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(table)) as database, database:
        database.execute("create table blobs (digest text primary key, size integer, grouped text, kind text)")
        database.executemany("insert into blobs values (?, ?, ?, ?)", rows)
        database.execute("create index by_group on blobs (grouped, digest)")


def _query_all(material: Labelled, _: Path) -> None:
    _query(material, "select digest, size, grouped, kind from blobs order by digest")


def _query_some(material: Labelled, _: Path) -> None:
    _query(material, "select digest, size, grouped, kind from blobs where grouped = 'g7' order by digest")


def _query(material: Labelled, query: str) -> None:
    with closing(sqlite3.connect(material.table)) as database:
        database.execute(query).fetchall()


def _scan(material: Labelled, _: Path) -> None:
    with os.scandir(material.root / "blobs" / "sha256") as entries:
        for entry in entries:
            entry.stat()
