"""Programs that use fsspec: pandas with pyarrow, and universal_pathlib."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest

from steelyard.errors import DataCorrupt
from steelyard.fs import SteelyardFileSystem
from steelyard.trees import put_tree

from .conftest import on_store

pytestmark = pytest.mark.slow

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
upath = pytest.importorskip("upath")


@pytest.fixture
def place(tmp_path: Path) -> Any:
    """Give the options that a program passes on, and close the store afterwards."""
    store = str(tmp_path / "store")
    yield {"store": store}
    SteelyardFileSystem(store).close()
    SteelyardFileSystem.clear_instance_cache()


def frame(rows: int = 100_000) -> Any:
    return pandas.DataFrame({"number": range(rows), "text": [f"text {row % 97}" for row in range(rows)]})


def test_pandas_reads_a_parquet_file_out_of_a_tree(place: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data/year=2026").mkdir(parents=True)
    frame().to_parquet(tmp_path / "data/year=2026/part.parquet")
    files = SteelyardFileSystem(**place)
    on_store(files, partial(put_tree, path=tmp_path / "data", name="data"))

    found = pandas.read_parquet("steelyard://data/year=2026/part.parquet", storage_options=place)
    columns = pandas.read_parquet("steelyard://data/year=2026/part.parquet", storage_options=place, columns=["number"])
    assert frame().equals(found)
    assert ["number"] == list(columns)
    assert frame().equals(pandas.read_parquet(files.info("data/year=2026/part.parquet")["digest"], filesystem=files))


def test_pandas_writes_a_parquet_file_under_a_name(place: dict[str, Any]) -> None:
    frame().to_parquet("steelyard://mine/data.parquet", storage_options=place)
    frame(10).to_csv("steelyard://mine/data.csv.gz", index=False, storage_options=place)

    assert frame().equals(pandas.read_parquet("steelyard://mine/data.parquet", storage_options=place))
    assert frame(10).equals(pandas.read_csv("steelyard://mine/data.csv.gz", storage_options=place))
    assert ["mine/data.csv.gz", "mine/data.parquet"] == SteelyardFileSystem(**place).find("")


class Unwritable:
    def __str__(self) -> str:
        raise ZeroDivisionError


def test_a_table_that_pandas_cannot_write_leaves_nothing(place: dict[str, Any]) -> None:
    bad = pandas.DataFrame({"a": [*range(200_000), Unwritable()]})
    with pytest.raises(ZeroDivisionError):
        bad.to_csv("steelyard://bad.csv", storage_options=place)
    with pytest.raises(Exception, match=r"Unwritable|convert"):
        bad.to_parquet("steelyard://bad.parquet", storage_options=place)

    assert [] == SteelyardFileSystem(**place).ls("")


def test_a_parquet_writer_that_fails_leaves_nothing(place: dict[str, Any]) -> None:
    """It writes the end of the file and closes it, while the error is on its way."""
    files = SteelyardFileSystem(**place)
    table = pyarrow.Table.from_pandas(frame())

    def write() -> None:
        with parquet.ParquetWriter("a", table.schema, filesystem=files) as writer:
            writer.write_table(table)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()

    assert not files.exists("a")


def test_pyarrow_writes_and_reads_a_partitioned_dataset(place: dict[str, Any]) -> None:
    files = SteelyardFileSystem(**place)
    table = pyarrow.table({"year": [2025, 2025, 2026], "value": [1, 2, 3]})
    parquet.write_to_dataset(table, "sets/values", partition_cols=["year"], filesystem=files)

    assert ["sets/values/year=2025", "sets/values/year=2026"] == files.ls("sets/values", detail=False)
    found = parquet.read_table("sets/values", filesystem=files, filters=[("year", "=", 2025)])
    assert [1, 2] == found.column("value").to_pylist()


def test_damage_is_noticed_in_a_whole_read(place: dict[str, Any], tmp_path: Path) -> None:
    frame(1000).to_parquet("steelyard://a.parquet", storage_options=place)
    (blob,) = (tmp_path / "store/blobs/sha256").iterdir()
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)

    with pytest.raises(DataCorrupt), fsspec.open("steelyard://a.parquet", **place) as file:
        file.read()


def test_universal_pathlib_opens_paths(place: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/sub/a.txt").write_text("wool")
    on_store(SteelyardFileSystem(**place), partial(put_tree, path=tmp_path / "data", name="some/data"))
    top = upath.UPath("steelyard://some/data", **place)

    assert "wool" == (top / "sub" / "a.txt").read_text()
    assert ["sub"] == [path.name for path in top.iterdir()]
    assert [top / "sub/a.txt"] == list(top.glob("**/*.txt"))
    assert top.is_dir()
    assert (top / "sub/a.txt").is_file()
    assert 4 == (top / "sub/a.txt").stat().st_size
    assert not (top / "b").exists()
    new = upath.UPath("steelyard://other/new.txt", **place)
    new.write_text("flax")
    assert "flax" == new.read_text()
    new.unlink()
    assert not new.exists()
    root = upath.UPath("steelyard://", **place)
    assert ["steelyard://some"] == [str(path) for path in root.iterdir()]
    assert ("data", root / "some") == ((root / "some/data").name, (root / "some/data").parent)
    with pytest.raises(OSError, match="Read-only"):
        (top / "b").write_text("1")


def test_urls_are_opened_and_chained(place: dict[str, Any]) -> None:
    with fsspec.open("steelyard://notes/a.txt", "w", **place) as file:
        file.write("wool")
    with fsspec.open("steelyard://notes/a.txt", "r", **place) as file:
        assert "wool" == file.read()
    with fsspec.open("simplecache::steelyard://notes/a.txt", steelyard=place) as file:
        assert b"wool" == file.read()
    mapper = fsspec.get_mapper("steelyard://arrays/x", **place)
    mapper["0.0"] = b"chunk"
    assert (["0.0"], b"chunk") == (list(mapper), mapper["0.0"])


def test_spawned_workers_read_with_a_pickled_file_system(place: dict[str, Any], tmp_path: Path) -> None:
    files = SteelyardFileSystem(**place)
    files.pipe({f"n/{number}": b"%d" % number for number in range(8)})
    program = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from steelyard.fs import SteelyardFileSystem

def read(files, path):
    return files.cat(path)

if __name__ == "__main__":
    files = SteelyardFileSystem(sys.argv[1])
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        print(*pool.map(read, repeat(files), files.find("n")))
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run([sys.executable, tmp_path / "program.py", place["store"]], capture_output=True, check=True)

    assert b" ".join(str(b"%d" % number).encode() for number in range(8)) + b"\n" == done.stdout
