"""The tests that fsspec has for every file system. `docs/fsspec.md` says which are left out."""

from __future__ import annotations

from typing import Any

import pytest
from fsspec.tests.abstract import AbstractFixtures
from fsspec.tests.abstract.copy import AbstractCopyTests
from fsspec.tests.abstract.get import AbstractGetTests
from fsspec.tests.abstract.open import AbstractOpenTests
from fsspec.tests.abstract.pipe import AbstractPipeTests
from fsspec.tests.abstract.put import AbstractPutTests

from steelyard.fs import SteelyardFileSystem


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


class TestNamesGet(Fixtures, AbstractGetTests): ...


class TestNamesOpen(Fixtures, AbstractOpenTests): ...


class TestNamesPipe(Fixtures, AbstractPipeTests): ...


class TestNamesPut(Fixtures, AbstractPutTests): ...


class TestNamesCopy(Fixtures, AbstractCopyTests): ...
