"""Packages that load what they export when it is first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ("exports",)


def exports(
    package: str, modules: Mapping[str, str], submodules: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package.

    Type checkers do not see these: the package repeats the exports as imports under ``TYPE_CHECKING``.
    `tests/project/test_public.py` compares the two.

    Args:
        package: the name of the package.
        modules: the exported names, separated by spaces, by the module that defines them.
        submodules: public submodules that ``import`` of the package makes available as attributes.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}
    known = submodules.split()
    namespace = vars(sys.modules[package])

    def load(name: str) -> Any:
        if name in homes:
            value = getattr(import_module(homes[name]), name)
        elif name in known:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = value  # the next access does not come here
        return value

    def names() -> list[str]:
        return sorted({*namespace, *homes, *known})

    return load, names
