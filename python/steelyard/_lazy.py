"""Modules that are loaded when they are first used, so that importing the package is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ("Module", "exports", "on_load")

on_load: list[Callable[[], object]] = []
"""Called after the late load of a module."""


class Module:
    """A module that is loaded at the first use of one of its names.

    Type checkers do not understand it, so the importing module has a plain import under ``TYPE_CHECKING``.

    Args:
        name: the full name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Load the module, and copy its names, so that the next use is a plain attribute access."""
        loaded = _load(self._name)
        vars(self).update(vars(loaded))
        return getattr(loaded, name)


def _load(name: str) -> ModuleType:
    is_new = name not in sys.modules
    loaded = import_module(name)
    if is_new:
        for call in on_load:
            call()
    return loaded


def exports(
    package: str, modules: Mapping[str, str], submodules: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a module whose exports are loaded when they are used (PEP 562).

    Type checkers do not see these: the module repeats the exports as imports under ``TYPE_CHECKING``.
    `tests/project/test_public.py` compares the two.

    Args:
        package: the name of the module, most often a package.
        modules: the exported names, separated by spaces, by the module that defines them.
        submodules: public submodules that ``import`` of the package makes available as attributes.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}
    known = submodules.split()
    namespace = vars(sys.modules[package])

    def load(name: str) -> Any:
        if name in homes:
            value = getattr(_load(homes[name]), name)
        elif name in known:
            value = _load(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = value  # the next access does not call this function
        return value

    def names() -> list[str]:
        return sorted({*namespace, *homes, *known})

    return load, names
