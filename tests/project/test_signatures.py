"""Signatures agree: every store, reader and writer takes what its interface names, and options are keywords everywhere."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import steelyard
from steelyard import transfer
from steelyard.base import BaseReader, BaseStore
from steelyard.containerd.remote import RemoteStore
from steelyard.content import ReaderAt, Store, Writer
from steelyard.images.layout import BlobWriter, DirectoryLayout, LayoutDriver, MemoryLayout
from steelyard.leases import Leases
from steelyard.names import ImageNames

OPTIONS = {
    "algorithm",
    "annotations",
    "concurrency",
    "errors",
    "expected",
    "labels",
    "on_progress",
    "overwrite",
    "quarantine",
    "resume",
    "size",
    "verify",
}
"""Parameters that are never positional, except of a call that has no other."""


def _class(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"steelyard.{module}"), name)


CLASSES: tuple[tuple[type, type], ...] = (
    (steelyard.LocalStore, Store),
    (steelyard.MemoryStore, Store),
    (RemoteStore, Store),
    (BaseStore, Store),
    (_class("local.writer", "LocalWriter"), Writer),
    (_class("memory._ingest", "MemoryWriter"), Writer),
    (_class("containerd.remote._writer", "RemoteWriter"), Writer),
    (_class("local.reader", "LocalReader"), ReaderAt),
    (_class("transfer._memory_reader", "MemoryReader"), ReaderAt),
    (_class("containerd.remote._reader", "RemoteReader"), ReaderAt),
    (BaseReader, ReaderAt),
    (_class("memory", "MemoryLeases"), Leases),
    (_class("local.leases", "LocalLeases"), Leases),
    (_class("containerd.remote._leases", "RemoteLeases"), Leases),
    (_class("local.names", "LocalImageNames"), ImageNames),
    (_class("memory", "MemoryImageNames"), ImageNames),
    (_class("containerd.remote._names", "RemoteImageNames"), ImageNames),
    (steelyard.LocalStore, steelyard.MemoryStore),
)
"""The classes that implement an interface. The last pair has calls that no interface names, such as `verify`."""


def _parameters(function: Callable[..., object]) -> list[tuple[str, Any, Any]]:
    signature = inspect.signature(inspect.unwrap(function))
    return [(each.name, each.kind, each.default) for each in signature.parameters.values()]


def _methods(cls: type) -> Iterator[tuple[str, Callable[..., object]]]:
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_"):
            yield name, method


@pytest.mark.parametrize(("cls", "interface"), CLASSES, ids=lambda each: each.__name__)
def test_every_implementation_takes_what_its_interface_names(cls: type, interface: type) -> None:
    """An implementation may have keywords of its own, after those of the interface."""
    expected = {name: _parameters(method) for name, method in _methods(interface) if hasattr(cls, name)}
    found = {name: _parameters(getattr(cls, name)) for name in expected}
    more = [each for name, ours in found.items() for each in ours[len(expected[name]) :]]

    assert expected
    assert expected == {name: ours[: len(expected[name])] for name, ours in found.items()}
    assert all(kind is inspect.Parameter.KEYWORD_ONLY for _, kind, _ in more)
    assert all(default is not inspect.Parameter.empty for _, _, default in more)


@pytest.mark.parametrize("name", ["put", "put_many", "update_many", "delete_many", "commit"])
def test_the_signature_of_a_call_with_a_hook_stands_once(name: str) -> None:
    """The hooks `_put`, `_put_many`, `_update_many`, `_delete_many` and `_commit` take parsed options, and repeat neither the signature nor the checks."""
    interface = Writer if name == "commit" else Store
    for cls, other in CLASSES:
        if other is interface:
            assert inspect.unwrap(getattr(cls, name)) is getattr(interface, name)


def test_options_are_keywords_in_every_call() -> None:
    calls: dict[str, Callable[..., object]] = {f"transfer.{name}": getattr(transfer, name) for name in transfer.__all__}
    for cls in {each for pair in CLASSES for each in pair} | {BlobWriter, LayoutDriver, DirectoryLayout, MemoryLayout}:
        calls |= {f"{cls.__name__}.{name}": method for name, method in _methods(cls)}
    found = {
        call: name
        for call, function in calls.items()
        for name, kind, default in _parameters(function)
        if name in OPTIONS and kind is not inspect.Parameter.KEYWORD_ONLY and default is not inspect.Parameter.empty
    }

    assert {} == found


def test_the_functions_on_whole_blobs_agree() -> None:
    """The store comes first, then the source, then the blob; `ref`, `labels` and `on_progress` are the same three keywords."""
    names = {name: [each for each, _, _ in _parameters(getattr(transfer, name))] for name in transfer.__all__}

    assert ["store", "source", "blob", "ref", "labels", "on_progress"] == names["write_blob"]
    assert ["source", "blob", "target", "ref", "labels", "on_progress"] == names["copy"]
    assert ["provider", "blob"] == names["read_blob"]
    shared = [
        {
            name: rest
            for name, *rest in _parameters(getattr(transfer, function))
            if name in {"ref", "labels", "on_progress"}
        }
        for function in ("copy", "write_blob")
    ]
    assert shared[0] == shared[1]
    of_put = {name: rest for name, *rest in _parameters(Store.put)}
    assert all(of_put[name] == rest for name, rest in shared[0].items())
