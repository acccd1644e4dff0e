"""The native objects below the public ones: each method of each is refused in a child, found by introspection."""

from __future__ import annotations

import inspect
import os
import pickle
import re
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.forks import forked

from steelyard import _native
from steelyard._native import Batcher, Filter, Hasher, Job

MEMORY_ONLY = {
    "Cancelled",
    "DirectoryWalk",
    "Events",
    "Filter",
    "Hasher",
    "Job",
    "JsonShape",
    "PanicException",
    "Process",
    "RequestFailed",
}
"""Classes that hold no file and no thread, and no lock at a fork: a child has a copy of its own."""

ENDS = re.compile(r".*\.(close|close_at_once|end)|ContentServer\.finish|RemoteCall\.cancel")
"""Methods that end an object, and do nothing in a child."""

DIGEST = "sha256:" + "0" * 64
METHOD = "/containerd.services.content.v1.Content/Info"


LISTS = ("files", "headers", "items", "keys", "objects", "parts", "pieces", "refs", "targets")
"""Parameters that are given an empty list."""


def arguments(file: int) -> dict[str, Any]:
    """Return a value for each parameter that any method has, by name. A new name has to be added here."""
    return {name: [] for name in LISTS} | {
        "accept_roots": False,
        "algorithm": "sha256",
        "after": None,
        "all": True,
        "also": None,
        "args": (),
        "at": 0,
        "body": _native.ObjectBody("key", 0, 10),
        "buffer": bytearray(1),
        "collector": None,
        "copied": "copy",
        "create": True,
        "data": b"x",
        "digest": DIGEST,
        "digests": [DIGEST],
        "directory": ".",
        "dry_run": True,
        "durable": False,
        "etag": None,
        "expected": None,
        "expires": 1,
        "file": file,
        "folders": [file],
        "filter": Filter([]),
        "function": print,
        "grace": 0,
        "hasher": Hasher(["sha256"]),
        "empty": False,
        "ingest_age": 0,
        "job": Job(),
        "key": "key",
        "labels": {},
        "lease": "lease",
        "limit": 1,
        "mark": False,
        "max_bytes": None,
        "method": METHOD,
        "most": 1,
        "name": "name",
        "number": 0,
        "offset": 0,
        "output": bytearray(1),
        "path": "path",
        "prefix": "prefix",
        "range": None,
        "ref": "ref",
        "request": b"{}",
        "seconds": 1,
        "take_back": False,
        "size": 1,
        "source": (file, 0),
        "sources": [b"x"],
        "start": 0,
        "taken": "",
        "target": None,
        "ticket": None,
        "timeout": 1.0,
        "total": None,
        "unverified_before": None,
        "upload": "upload",
        "url": "http://127.0.0.1/",
        "wake": print,
        "wanted": 1,
    }


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield an object of each class, by the name of the class, and a file."""
    store = _native.Store.open(str(tmp_path / "store"), read_only=False, durable=False, write_buffer=1 << 20)
    ingest = store.ingest("other", total=None, expected=None, algorithm=None)
    ingest.push(b"some bytes")
    stored = store.anonymous(algorithm="sha256")
    stored.write(b"bytes")
    row = stored.commit(None, None, None)
    blob = store.blob(f"{row[0]}:{row[1]}")
    pool = _native.Pool(1)
    file = os.open(tmp_path / "archive.tar", os.O_CREAT | os.O_RDWR)
    made = [store, ingest, blob, blob.stream(), store.walk(Filter([])), store.images(), pool, pool.port(print)]
    made += [ingest.room, _native.TarReader(entries=9, header_bytes=99), _native.Compressor("gzip", level=None)]
    made += [_native.TarIndexer(file, entries=9, header_bytes=99)]
    made += [_native.Decompressor("gzip", ratio=None, memory=1 << 20), Batcher(list, most=1, most_bytes=1, at_once=1)]
    made += [store.leases(), store.subscribe(Filter([]), 1), store.why([DIGEST])]
    made += [store.collection(grace=0, max_bytes=None, ingest_age=0, dry_run=True, accept_roots=False, take_back=False)]
    client = _native.ObjectClient(
        {"bucket": "bucket", "endpoint": "http://127.0.0.1:1", "access_key_id": "a", "secret_access_key": "b"},
        retries=0,
        timeout=1,
    )
    body = _native.ObjectBody("key", 0, 10)
    channel = _native.RemoteChannel(tmp_path / "absent")
    made += [channel, channel.call(METHOD, [], None)]
    made += [client, client.receive(body, etag=None), body]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        settings = {"read_bytes": 1, "message_bytes": 100, "calls": 1, "idle": 1.0, "leases": False}
        server = _native.ContentServer(store, print, listener.fileno(), **settings)  # type: ignore[arg-type]
    made += [server]
    objects: dict[str, Any] = {type(each).__name__: each for each in made}
    yield objects, file
    server.finish(0)
    ended = [objects[name] for name in ("Collection", "Why", "Subscription", "Stream")]
    for each in (*ended, blob, ingest, stored, pool, store, client, channel):
        each.close()
    os.close(file)
    objects.clear()  # the others end when they are dropped


def calls(one: Any, values: dict[str, Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each public method of an object with a call of it."""
    for name in dir(one):
        kind = inspect.getattr_static(type(one), name)
        if (name.startswith("_") and name != "__call__") or isinstance(kind, (staticmethod, classmethod)):
            continue
        if not callable(kind):  # an attribute
            continue
        if name == "__call__":
            yield name, partial(one, *UNNAMED[type(one).__name__])
        else:
            yield name, call(getattr(one, name), values)


UNNAMED = {"Batcher": (None, 1), "Wait": ()}
"""Arguments for the calls of those classes; their signatures do not name them."""


def call(method: Callable[..., Any], values: dict[str, Any]) -> Callable[[], Any]:
    positional, named = [], {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.kind == parameter.KEYWORD_ONLY:
            named[parameter.name] = values[parameter.name]
        else:
            positional.append(values[parameter.name])
    return partial(method, *positional, **named)


def outcome(made: Callable[[], Any]) -> str:
    try:
        made()
    except BaseException as error:  # noqa: BLE001  # a panic, too, is an answer
        return type(error).__name__
    return "no error"


def classes() -> set[str]:
    return {name for name, kind in vars(_native).items() if isinstance(kind, type)} - MEMORY_ONLY


def test_each_method_of_each_native_object_is_refused_in_a_child(opened: tuple[dict[str, Any], int]) -> None:
    objects, file = opened
    assert classes() == set(objects)
    values = arguments(file)
    every = {f"{kind}.{name}": made for kind, one in objects.items() for name, made in calls(one, values)}

    found = forked(lambda: {name: outcome(made) for name, made in every.items()})

    expected = {name: "no error" if ENDS.fullmatch(name) else "FailedPrecondition" for name in every}
    assert expected == found
    assert b"bytes" == objects["Blob"].read_at(0, 5, Job())  # the parent's are as they were
    ingest = objects["Ingest"]
    ingest.flush()
    assert len(b"some bytes") == ingest.commit(None, None, None)[2]


def test_no_native_object_can_be_pickled(opened: tuple[dict[str, Any], int]) -> None:
    for one in opened[0].values():
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(one)
