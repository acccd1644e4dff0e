"""Other clients of object storage, each used as its own documentation shows it, with as much at once as ours.

A client is connected before a round, and its calls block. None of them hashes for a name, and none verifies what it reads with a digest.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from steelyard_bench._gateway import BUCKET, KEY, REGION, SECRET
from steelyard_bench._inside import Pool
from steelyard_bench._peers._shape import needs_package

__all__ = ("AT_ONCE", "CLIENTS", "RANGES", "Client", "ClientPeer")

MIB = 1 << 20

PART, PARTS = 8 * MIB, 8
"""The size of a part of an upload, and how many are on their way at once: what ours has."""

RANGE, RANGES_AT_ONCE = 4 * MIB, 4
"""The same for ranges of a read."""

AT_ONCE = 64
"""Small objects at once."""


class Client(ABC):
    """A client that is connected to a server. What it reads it counts, in bytes; what it lists, in objects."""

    @abstractmethod
    def put(self, path: Path, key: str) -> None:
        """Store a large file."""

    @abstractmethod
    def read(self, key: str, into: Path) -> int:
        """Read a large object; one that can only read to a file reads to `into`."""

    @abstractmethod
    def put_many(self, paths: Sequence[Path], data: Sequence[bytes]) -> None:
        """Store small objects, given as files and as bytes."""

    @abstractmethod
    def get_many(self, keys: Sequence[str], into: Path) -> int:
        """Read small objects."""

    @abstractmethod
    def walk(self, prefix: str) -> int:
        """List objects."""


@dataclass(frozen=True, kw_only=True)
class ClientPeer:
    """A client that can take part.

    Attributes:
        name: as the report shows it.
        connect: connects it to a server, given its URL.
        notes: what it leaves out, or how it does it, by the method of `Client`.
        available: returns why it cannot take part, or None.
    """

    name: str
    connect: Callable[[str], AbstractContextManager[Client]]
    notes: dict[str, str]
    available: Callable[[], str | None]


class _Obstore(Client):
    def __init__(self, url: str) -> None:
        self._obstore = import_module("obstore")
        config = {"access_key_id": KEY, "secret_access_key": SECRET, "region": REGION, "endpoint": url}
        self._store = import_module("obstore.store").S3Store(BUCKET, config=config, client_options={"allow_http": True})

    def put(self, path: Path, key: str) -> None:
        self._obstore.put(self._store, key, path, use_multipart=True, chunk_size=PART, max_concurrency=PARTS)

    def read(self, key: str, into: Path) -> int:
        del into
        return sum(map(len, self._obstore.get(self._store, key).stream(min_chunk_size=RANGE)))

    def put_many(self, paths: Sequence[Path], data: Sequence[bytes]) -> None:
        async def put(entry: tuple[Path, bytes]) -> int:
            await self._obstore.put_async(self._store, entry[0].name, entry[1])
            return 1

        asyncio.run(_each(zip(paths, data, strict=True), put, AT_ONCE))

    def get_many(self, keys: Sequence[str], into: Path) -> int:
        del into

        async def get(key: str) -> int:
            return len(await (await self._obstore.get_async(self._store, key)).bytes_async())

        return asyncio.run(_each(keys, get, AT_ONCE))

    def walk(self, prefix: str) -> int:
        return sum(map(len, self._obstore.list(self._store, prefix, chunk_size=1000)))


class _ObstoreRanges(_Obstore):
    """obstore with the ranges of ours."""

    def read(self, key: str, into: Path) -> int:
        del into
        size: int = self._obstore.head(self._store, key)["size"]

        async def get(start: int) -> int:
            return len(
                await self._obstore.get_range_async(self._store, key, start=start, length=min(RANGE, size - start))
            )

        return asyncio.run(_each(range(0, size, RANGE), get, RANGES_AT_ONCE))


class _Boto(Client):
    def __init__(self, url: str) -> None:
        transfer, config = import_module("boto3.s3.transfer"), import_module("botocore.config")
        self._client = import_module("boto3").client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name=REGION,
            config=config.Config(max_pool_connections=AT_ONCE),
        )
        self._put = transfer.TransferConfig(multipart_chunksize=PART, max_concurrency=PARTS)
        self._get = transfer.TransferConfig(multipart_chunksize=RANGE, max_concurrency=RANGES_AT_ONCE)

    def put(self, path: Path, key: str) -> None:
        self._client.upload_file(str(path), BUCKET, key, Config=self._put)

    def read(self, key: str, into: Path) -> int:
        del into
        counter = _Counter()
        self._client.download_fileobj(BUCKET, key, counter, Config=self._get)
        return counter.count

    def put_many(self, paths: Sequence[Path], data: Sequence[bytes]) -> None:
        with Pool(AT_ONCE) as pool:
            for _ in pool.map(
                lambda path, body: self._client.put_object(Bucket=BUCKET, Key=path.name, Body=body), paths, data
            ):
                pass

    def get_many(self, keys: Sequence[str], into: Path) -> int:
        del into
        with Pool(AT_ONCE) as pool:
            return sum(pool.map(lambda key: len(self._client.get_object(Bucket=BUCKET, Key=key)["Body"].read()), keys))

    def walk(self, prefix: str) -> int:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sum(len(page.get("Contents", ())) for page in pages)

    def close(self) -> None:
        self._client.close()


class _S3fs(Client):
    def __init__(self, url: str) -> None:
        self._system = import_module("s3fs").S3FileSystem(
            key=KEY,
            secret=SECRET,
            endpoint_url=url,
            client_kwargs={"region_name": REGION},
            config_kwargs={"max_pool_connections": AT_ONCE},
            skip_instance_cache=True,
            use_listings_cache=False,
        )

    def put(self, path: Path, key: str) -> None:
        self._system.put_file(str(path), f"{BUCKET}/{key}", chunksize=PART, max_concurrency=PARTS)

    def read(self, key: str, into: Path) -> int:
        del into
        return len(self._system.cat_file(f"{BUCKET}/{key}"))

    def put_many(self, paths: Sequence[Path], data: Sequence[bytes]) -> None:
        names = [f"{BUCKET}/{path.name}" for path in paths]
        self._system.pipe(dict(zip(names, data, strict=True)), batch_size=AT_ONCE)

    def get_many(self, keys: Sequence[str], into: Path) -> int:
        del into
        found = self._system.cat([f"{BUCKET}/{key}" for key in keys], batch_size=AT_ONCE)
        return sum(map(len, found.values())) if isinstance(found, dict) else len(found)

    def walk(self, prefix: str) -> int:
        return len(self._system.find(f"{BUCKET}/{prefix}"))


class _Rclone(Client):
    _OPTIONS: ClassVar = ("--config", os.devnull, "--transfers", str(AT_ONCE), "--checkers", str(AT_ONCE))

    def __init__(self, url: str) -> None:
        settings = {"PROVIDER": "Other", "ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": SECRET, "ENDPOINT": url}
        settings |= {"REGION": REGION, "CHUNK_SIZE": "8Mi", "UPLOAD_CUTOFF": "8Mi", "UPLOAD_CONCURRENCY": str(PARTS)}
        settings["NO_CHECK_BUCKET"] = "true"  # the server fails to create one that exists
        self._environment = dict(os.environ) | {f"RCLONE_S3_{name}": value for name, value in settings.items()}

    def put(self, path: Path, key: str) -> None:
        self._call("copyto", str(path), _remote(key))

    def read(self, key: str, into: Path) -> int:
        ranges = ("--multi-thread-streams", str(RANGES_AT_ONCE), "--multi-thread-chunk-size", "4Mi")
        self._call("copyto", *ranges, _remote(key), str(into / "object"))
        return (into / "object").stat().st_size

    def put_many(self, paths: Sequence[Path], data: Sequence[bytes]) -> None:
        del data
        self._call("copy", "--include", "source-*", str(paths[0].parent), _remote(""))

    def get_many(self, keys: Sequence[str], into: Path) -> int:
        self._call("copy", _remote(keys[0].rpartition("/")[0]), str(into / "objects"))
        return sum(entry.stat().st_size for entry in os.scandir(into / "objects"))

    def walk(self, prefix: str) -> int:
        return len(self._call("lsf", "--recursive", "--files-only", "--fast-list", _remote(prefix)).splitlines())

    def _call(self, *words: str) -> bytes:
        command = [_rclone() or "rclone", *words, *self._OPTIONS]
        done = subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"rclone {words[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


class _Counter:
    """A file that counts what is written to it."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return len(data)


async def _each(items: Iterable[Any], function: Callable[[Any], Awaitable[int]], at_once: int) -> int:
    left = iter(items)

    async def some() -> int:
        return sum([await function(item) for item in left])

    return sum(await asyncio.gather(*(some() for _ in range(at_once))))


@contextmanager
def _boto(url: str) -> Iterator[Client]:
    client = _Boto(url)
    try:
        yield client
    finally:
        client.close()


def _connect(kind: Callable[[str], Client]) -> Callable[[str], AbstractContextManager[Client]]:
    @contextmanager
    def connect(url: str) -> Iterator[Client]:
        yield kind(url)

    return connect


def _remote(key: str) -> str:
    return f":s3:{BUCKET}/{key}"


def _missing_rclone() -> str | None:
    return None if _rclone() else "rclone is not installed, and not in STEELYARD_S3_SERVERS"


def _rclone() -> str | None:
    return shutil.which("rclone") or shutil.which("rclone", path=os.environ.get("STEELYARD_S3_SERVERS", ""))


_UPLOAD = "8 parts of 8 MiB at once"
_MANY = f"{AT_ONCE} at once"
_PLAIN = {
    "put": f"{_UPLOAD}; no digest, no resume",
    "read": "one request, not verified",
    "put_many": f"{_MANY}; no digest",
    "get_many": f"{_MANY}; not verified",
    "walk": "no labels",
}

CLIENTS = (
    ClientPeer(
        name="obstore",
        connect=_connect(_Obstore),
        notes=_PLAIN,
        available=needs_package("obstore", "obstore"),
    ),
    ClientPeer(
        name="boto3",
        connect=_boto,
        notes={
            "put": f"the transfer manager, {_UPLOAD}; no digest, no resume",
            "read": "the transfer manager, 4 ranges of 4 MiB at once; not verified",
            "put_many": f"{AT_ONCE} threads; no digest",
            "get_many": f"{AT_ONCE} threads; not verified",
            "walk": "no labels",
        },
        available=needs_package("boto3", "boto3"),
    ),
    ClientPeer(
        name="s3fs",
        connect=_connect(_S3fs),
        notes=_PLAIN,
        available=needs_package("s3fs", "s3fs"),
    ),
    ClientPeer(
        name="rclone",
        connect=_connect(_Rclone),
        notes={
            "put": f"a process, {_UPLOAD}; MD5, no resume",
            "read": "a process, to a file, 4 ranges at once; compares the MD5, where there is one",
            "put_many": f"a process, {_MANY}; MD5",
            "get_many": f"a process, to files, {_MANY}; compares the MD5",
            "walk": "a process; no labels",
        },
        available=_missing_rclone,
    ),
)

RANGES = ClientPeer(
    name="obstore, ranges at once",
    connect=_connect(_ObstoreRanges),
    notes={"read": "4 ranges of 4 MiB at once; not verified"},
    available=needs_package("obstore", "obstore"),
)
"""obstore once more, with as many requests at once as ours."""
