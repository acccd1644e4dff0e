"""Trees made of entries, without files."""

from __future__ import annotations

from collections.abc import Iterable

from steelyard.images.leases import LeaseGuard
from steelyard.model import Descriptor
from steelyard.trees import Entry
from steelyard.trees._builder import TreeBuilder
from steelyard.trees._entry import order_of
from steelyard.trees._format import encode_layer

__all__ = ("build_tree",)


async def build_tree(guard: LeaseGuard, entries: Iterable[Entry]) -> Descriptor:
    """Store the documents of a tree with these entries, in any order."""
    builder = TreeBuilder(guard)
    for entry in sorted(entries, key=lambda entry: order_of(entry.path)):
        if entry.kind == "file":
            layer = encode_layer(entry.path, str(entry.digest), entry.size or 0, is_executable=entry.executable)
            builder.add_file(entry.path, layer)
        else:
            builder.add(entry)
        await builder.store_due()
    return await builder.finish()
