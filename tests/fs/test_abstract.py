"""The tests that fsspec has for every file system. `docs/fsspec.md` says which are left out."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fsspec.asyn import sync
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests.abstract import AbstractFixtures
from fsspec.tests.abstract.copy import AbstractCopyTests
from fsspec.tests.abstract.get import AbstractGetTests
from fsspec.tests.abstract.open import AbstractOpenTests
from fsspec.tests.abstract.pipe import AbstractPipeTests
from fsspec.tests.abstract.put import AbstractPutTests

from steelyard.fs import SteelyardFileSystem
from steelyard.trees import put_tree

ALL = ["local", pytest.param("memory", marks=pytest.mark.slow), pytest.param("objects", marks=pytest.mark.slow)]
on_all = pytest.mark.parametrize("files", ALL, indirect=True)
on_two = pytest.mark.parametrize("files", ALL[:2], indirect=True)
"""Without the bucket, where these tests take minutes."""


class Fixtures(AbstractFixtures):
    @pytest.fixture
    def fs(self, files: SteelyardFileSystem) -> SteelyardFileSystem:
        return files

    @pytest.fixture
    def fs_path(self) -> str:
        return "names"

    @pytest.fixture
    def fs_join(self) -> Any:
        return lambda *parts: "/".join(parts)

    @pytest.fixture
    def supports_empty_directories(self) -> bool:
        return False


class Trees(Fixtures):
    """The same files in a tree, which does not change."""

    @pytest.fixture(autouse=True)
    def trees(self, files: SteelyardFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the files of each scenario made in a directory, which is then stored as a tree."""
        local = LocalFileSystem(auto_mkdir=True)
        for name in (
            "_bulk_operations_scenario_0",
            "_glob_edge_cases_files",
            "_dir_and_file_with_same_name_prefix",
            "_10_files_with_hashed_names",
        ):
            make = getattr(self, name)

            def made(fs: SteelyardFileSystem, join: Any, top: str, make: Any = make, name: str = name) -> str:
                if fs is not files:
                    return str(make(fs, join, top))
                directory = make(local, os.path.join, str(tmp_path / name))
                sync(fs.loop, partial(put_tree, sync(fs.loop, fs._lazy.writing), directory, name=f"{top}/source"))
                return f"{top}/source"

            monkeypatch.setattr(self, name, made)


@on_all
class TestTreesGet(Trees, AbstractGetTests): ...


@on_two
@pytest.mark.slow
class TestNamesGet(Fixtures, AbstractGetTests): ...


@on_all
class TestNamesOpen(Fixtures, AbstractOpenTests): ...


@on_all
class TestNamesPipe(Fixtures, AbstractPipeTests): ...


@on_two
@pytest.mark.slow
class TestNamesPut(Fixtures, AbstractPutTests): ...


@on_two
@pytest.mark.slow
class TestNamesCopy(Fixtures, AbstractCopyTests): ...
