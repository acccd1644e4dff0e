"""Claims of the documentation that the code can confirm: lists, numbers, defaults and names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from steelyard import InvalidFilter, content, filters
from steelyard.base import BaseStore
from steelyard.names import ImageNames

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")


def test_the_readme_names_the_packages_that_the_library_needs() -> None:
    (named,) = re.findall(r"The library needs two packages, (\w+) and (\w+)\.", README)

    assert set(named) == {re.split(r"\W", package)[0] for package in PROJECT["dependencies"]}


def test_the_readme_names_the_oldest_python() -> None:
    assert f"Python {PROJECT['requires-python'].removeprefix('>=')} or newer" in README


def test_the_guide_lists_every_example() -> None:
    listed = re.findall(r"^\| `examples/(\w+\.py)`", GUIDE, re.MULTILINE)

    assert sorted(listed) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def test_the_guide_names_the_five_interfaces_of_a_store() -> None:
    (text,) = re.findall(r"implement five interfaces: (.*?)\. `BaseStore`", GUIDE, re.DOTALL)
    named = [name for name in re.findall(r"`([A-Z]\w+)`", text) if name != "Store"]
    kinds: list[Any] = [getattr(content, name) for name in named]

    assert len(kinds) == 5
    left = {method for kind in kinds if kind is not ImageNames for method in kind.__abstractmethods__}
    assert left | {"images"} == BaseStore.__abstractmethods__


def test_the_guide_gives_the_limits_of_filters() -> None:
    assert f"at most {filters.MAX_FILTERS:,} filters and 32 KiB of text" in GUIDE

    filters.compile(*[""] * filters.MAX_FILTERS)
    with pytest.raises(InvalidFilter, match=str(filters.MAX_FILTERS)):
        filters.compile(*[""] * (filters.MAX_FILTERS + 1))
    text = "labels.a==b,"
    whole = text * (32768 // len(text)) + "size"
    filters.compile(whole + "x" * (32768 - len(whole)))
    with pytest.raises(InvalidFilter, match="32768"):
        filters.compile(whole + "x" * (32769 - len(whole)))
    with pytest.raises(InvalidFilter, match="4096 KiB"):
        filters.compile(r"labels.a~=\w{100}")
