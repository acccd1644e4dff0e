"""The value and the origin of each option: command line, environment, config file or default, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import msgspec

from steelyard._places import Setting, base_directory, find_setting, find_store, read_config
from steelyard.errors import InvalidArgument

__all__ = (
    "Backend",
    "Durability",
    "Format",
    "Settings",
    "cache_path",
    "load",
)

Format = Literal["text", "json", "jsonl"]
Backend = Literal["asyncio", "trio"]
Durability = Literal["power-loss", "process-crash"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "format": ("text", "json", "jsonl"),
    "backend": ("asyncio", "trio"),
    "durability": ("power-loss", "process-crash"),
}
"""The options with a fixed set of values; the first is the default."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options that can be set in the environment and in the config file."""

    store: Setting
    format: Setting
    backend: Setting
    durability: Setting

    @property
    def store_path(self) -> Path:
        """The absolute root of the store; `store` may be an address instead."""
        return Path(self.store.value)

    @property
    def output_format(self) -> Format:
        """The format of the output."""
        return cast("Format", self.format.value)

    @property
    def backend_name(self) -> Backend:
        """The async library."""
        return cast("Backend", self.backend.value)

    @property
    def durability_name(self) -> Durability:
        """The failure that a finished write survives."""
        return cast("Durability", self.durability.value)


def load(flags: Mapping[str, str | None]) -> Settings:
    """Return the options of this run. An empty environment variable counts as not set.

    Args:
        flags: the values given on the command line, by option; None where it was not given.

    Raises:
        InvalidArgument: a value is not one of the choices, or the config file is invalid.
    """
    entries = read_config()
    found = {"store": find_store(flags.get("store"), entries)}
    for name, choices in _CHOICES.items():
        setting = find_setting(name, flags.get(name), entries, choices[0])
        if setting.value not in choices:
            raise InvalidArgument(f"{setting.origin}: {name} {setting.value!r}: expected one of {', '.join(choices)}")
        found[name] = setting
    return Settings(**found)


def cache_path() -> Path:
    """Return the directory for caches."""
    return base_directory("XDG_CACHE_HOME", ".cache") / "steelyard"
