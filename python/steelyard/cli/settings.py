"""The value and the origin of each option: command line, environment, config file or default, in this order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

import msgspec

from steelyard.cli.addresses import is_address
from steelyard.errors import InvalidArgument

__all__ = (
    "Backend",
    "Durability",
    "Format",
    "Setting",
    "Settings",
    "cache_path",
    "config_path",
    "default_store",
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
"""The options with a choice of words; the first is the default."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The value of an option, and its origin.

    Attributes:
        value: the value.
        origin: a flag, a variable, the path of a config file, or ``default``.
    """

    value: str
    origin: str


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
    config = config_path()
    entries = _read(config)
    found: dict[str, Setting] = {}
    for name in ("store", *_CHOICES):
        setting = _find(name, flags.get(name), os.environ.get(f"STEELYARD_{name.upper()}"), entries.get(name), config)
        choices = _CHOICES.get(name)
        if choices is not None and setting.value not in choices:
            raise InvalidArgument(f"{setting.origin}: {name} {setting.value!r}: expected one of {', '.join(choices)}")
        found[name] = setting
    return Settings(**found)


def _find(name: str, flag: str | None, variable: str | None, entry: str | None, config: Path) -> Setting:
    for value, origin, base in (
        (flag, f"--{name}", Path()),
        (variable or None, f"STEELYARD_{name.upper()}", Path()),
        (entry, str(config), config.parent),
    ):
        if value is not None:
            return Setting(value=value if name != "store" else _root(value, base, origin), origin=origin)
    return Setting(value=_CHOICES[name][0] if name in _CHOICES else str(default_store()), origin="default")


def _root(value: str, base: Path, origin: str) -> str:
    try:
        if is_address(value):
            return value
    except InvalidArgument as error:
        raise InvalidArgument(f"{origin}: {error}") from None
    return str((base / os.path.expanduser(value)).absolute())  # noqa: PTH111 - the method fails for an unknown user


def config_path() -> Path:
    """Return the path of the user's config file, which need not exist."""
    return _home("XDG_CONFIG_HOME", ".config") / "steelyard" / "config.toml"


def cache_path() -> Path:
    """Return the folder for what is only kept to save time."""
    return _home("XDG_CACHE_HOME", ".cache") / "steelyard"


def default_store() -> Path:
    """Return the default root: a folder in the user's data directory."""
    return _home("XDG_DATA_HOME", ".local/share") / "steelyard" / "store"


def _home(variable: str, default: str) -> Path:
    """Return a base directory. Spec: the XDG base directory specification, which ignores relative paths."""
    stated = Path(os.environ.get(variable, ""))
    return stated if stated.is_absolute() else Path(os.path.expanduser("~")) / default  # noqa: PTH111 - it never fails


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}: not valid TOML: {error}") from error
    import tomllib  # noqa: PLC0415 - most users have no config file

    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgument(f"{path}: not valid TOML: {error}") from error
    for key, value in entries.items():
        if key != "store" and key not in _CHOICES:
            raise InvalidArgument(f"{path}: unknown key {key!r}: expected one of store, {', '.join(_CHOICES)}")
        if not isinstance(value, str):
            raise InvalidArgument(f"{path}: {key}: expected text in quotes, found {value!r}")
    return entries
