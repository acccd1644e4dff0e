"""The place of a store: a root on this machine's disk or an address, as given to the command line and the file system of fsspec.

``containerd:///PATH/OF/SOCKET?namespace=NAME&lease=ID`` and ``s3://BUCKET/PREFIX?endpoint=URL&region=NAME`` are addresses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

import msgspec

from steelyard.errors import InvalidArgument

if TYPE_CHECKING:
    from steelyard.content import Store
    from steelyard.objects import ObjectStore

__all__ = (
    "CONFIG_KEYS",
    "Setting",
    "base_directory",
    "config_path",
    "find_setting",
    "find_store",
    "has_blobs",
    "is_address",
    "is_object_storage",
    "is_store",
    "objects_at",
    "others_in",
    "read_config",
    "store_at",
    "written_out",
)

CONFIG_KEYS = ("store", "format", "backend", "durability")
"""The keys that the config file may have."""

_SCHEME = "containerd:"
_OBJECTS = "s3:"
_OWN_NAMES = re.compile(r"ingest|lock|meta\.db.*|lost\+found", re.DOTALL)
"""Names that the first opening of a store creates beside `blobs`, and names in a new file system."""
_OTHER_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The value of an option, and its origin.

    Attributes:
        value: the value.
        origin: a flag, a variable, the path of a config file, or ``default``.
    """

    value: str
    origin: str


def find_setting(name: str, flag: str | None, entries: Mapping[str, str], default: str) -> Setting:
    """Return the value of an option: that of the command line, the environment, the config file or the default, in this order.

    An empty environment variable counts as not set.
    """
    variable = f"STEELYARD_{name.upper()}"
    for value, origin in (
        (flag, f"--{name}"),
        (os.environ.get(variable) or None, variable),
        (entries.get(name), str(config_path())),
    ):
        if value is not None:
            return Setting(value=value, origin=origin)
    return Setting(value=default, origin="default")


def find_store(flag: str | None, entries: Mapping[str, str]) -> Setting:
    """Return the address or the absolute root of the store. A root in the config file is below the directory of that file.

    Raises:
        InvalidArgument: the value is empty, or an address with an unknown scheme.
    """
    default = base_directory("XDG_DATA_HOME", ".local/share") / "steelyard" / "store"
    found = find_setting("store", flag, entries, str(default))
    try:
        if is_address(found.value):
            return found
    except InvalidArgument as error:
        raise InvalidArgument(f"{found.origin}: {error}") from None
    base = config_path().parent if found.origin == str(config_path()) else Path()
    root = str((base / os.path.expanduser(found.value)).absolute())  # noqa: PTH111 - the method fails for an unknown user
    return Setting(value=root, origin=found.origin)


def config_path() -> Path:
    """Return the path of the user's config file, which need not exist."""
    return base_directory("XDG_CONFIG_HOME", ".config") / "steelyard" / "config.toml"


def base_directory(variable: str, default: str) -> Path:
    """Return a base directory. Spec: the XDG base directory specification, which ignores relative paths."""
    stated = Path(os.environ.get(variable, ""))
    return stated if stated.is_absolute() else Path(os.path.expanduser("~")) / default  # noqa: PTH111 - it never fails


def read_config() -> dict[str, str]:
    """Return the entries of the user's config file; none if there is no file.

    Raises:
        InvalidArgument: it is not valid TOML, has an unknown key, or has a value that is not text.
    """
    path = config_path()
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
        if key not in CONFIG_KEYS:
            raise InvalidArgument(f"{path}: unknown key {key!r}: expected one of {', '.join(CONFIG_KEYS)}")
        if not isinstance(value, str):
            raise InvalidArgument(f"{path}: {key}: expected text in quotes, found {value!r}")
    return entries


def is_address(text: str) -> bool:
    """Return whether the text is the address of a server, not the root of a store.

    Raises:
        InvalidArgument: it is empty, which would mean the current directory, or an address with an unknown scheme.
    """
    if not text:
        raise InvalidArgument("expected a path or an address, found ''")
    scheme = _OTHER_SCHEME.match(text)
    if scheme is not None and not text.startswith((_SCHEME, _OBJECTS)):
        raise InvalidArgument(
            f"{text}: unknown scheme {scheme[1]!r}: expected a path, containerd:///PATH/OF/SOCKET, or s3://BUCKET/PREFIX; "
            f"a file or directory of that name is ./{text}"
        )
    return text.startswith(_SCHEME) or (text.startswith(_OBJECTS) and text.removeprefix(_OBJECTS).startswith("/"))


def is_object_storage(text: str) -> bool:
    """Return whether the text is the address of a bucket."""
    return text.startswith(_OBJECTS) and is_address(text)


def written_out(address: str) -> str:
    """Return the address with both slashes after the scheme; a conversion to a path leaves only one."""
    if address.startswith(_OBJECTS):
        return f"{_OBJECTS}//{address.removeprefix(_OBJECTS).lstrip('/')}"
    return f"{_SCHEME}///{address.removeprefix(_SCHEME).lstrip('/')}"


def is_store(text: str) -> bool:
    """Return whether the path is a store. This reads the disk."""
    return is_address(text) or (Path(text) / "steelyard.json").is_file()


def has_blobs(text: str) -> bool:
    """Return whether the path has readable blobs: a store, or the content root of a containerd. This reads the disk."""
    return is_store(text) or (Path(text) / "blobs").is_dir()


def others_in(root: str) -> list[str]:
    """Return the names in a directory that cannot become a new store, because it has only other files. This reads the disk.

    `LocalStore` adopts any directory. A directory with `blobs/` is adopted here too: an image layout, or a store whose
    first opening was interrupted, which may also have left only the other names of a store.
    """
    if has_blobs(root) or not Path(root).is_dir():
        return []
    return sorted(name for name in os.listdir(root) if not _OWN_NAMES.fullmatch(name))  # noqa: PTH208 - names alone


def store_at(place: str, *, read_only: bool = False, create: bool = True, durable: bool = True) -> Store:
    """Return the store at a root or an address; it is not open yet. Without `create`, a missing store in a bucket is an error.

    Raises:
        InvalidArgument: the address is invalid.
    """
    if is_object_storage(place):
        return objects_at(place, read_only=read_only, create=create)
    if not is_address(place):
        from steelyard.local import LocalStore  # noqa: PLC0415 - the extension, which help does not need

        return LocalStore(place, read_only=read_only, durability="power-loss" if durable else "process-crash")
    path, options = _parse(place)
    from steelyard.containerd.remote import RemoteStore  # noqa: PLC0415 - other commands do not need it

    return RemoteStore(path, namespace=options.get("namespace", "default"), lease=options.get("lease"))


def objects_at(address: str, *, read_only: bool = False, create: bool = True) -> ObjectStore:
    """Return the store in a bucket; it is not open yet. It has the cache that the environment variables specify."""
    from steelyard._units import Size  # noqa: PLC0415 - needed here only
    from steelyard.objects import ObjectStore  # noqa: PLC0415 - other commands do not need it

    cache, text = os.environ.get("STEELYARD_CACHE"), os.environ.get("STEELYARD_CACHE_BYTES")
    try:
        cache_bytes = Size(text or "10GiB")
    except ValueError:
        raise InvalidArgument(f"STEELYARD_CACHE_BYTES: expected a size such as 50GiB, found {text!r}") from None
    return ObjectStore(
        written_out(address), cache=cache or None, cache_bytes=cache_bytes, read_only=read_only, create=create
    )


def _parse(address: str) -> tuple[str, dict[str, str]]:
    """Return the path of the socket, and the options."""
    path, _, query = address.removeprefix(_SCHEME).partition("?")
    if not path.startswith("/") or (path.startswith("//") and not path.startswith("///")):
        raise InvalidArgument(f"{address}: expected containerd:///PATH/OF/SOCKET, a path from the root")
    address = written_out(address)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InvalidArgument(f"{address}: {error}") from None
    options = dict(pairs)
    unknown = options.keys() - {"namespace", "lease"}
    if unknown or len(options) != len(pairs) or not all(options.values()):
        raise InvalidArgument(
            f"{address}: expected namespace=NAME and lease=ID after the ?, each once, found {query!r}"
        )
    return "/" + unquote(path).lstrip("/"), options
