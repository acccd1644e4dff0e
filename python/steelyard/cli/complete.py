"""Shell completion of digests, refs and image names from the store, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steelyard.local.blocking import BlockingStore

__all__ = ("complete_digest", "complete_image", "complete_ref")

_SECONDS = 0.3
_CANDIDATES = 200


def complete_digest(prefix: str, store: str | None) -> list[tuple[str, str]]:
    """Return the digests with a prefix, each with its size; see `parameters.Completer`."""
    return _ask(prefix, store, "digest")


def complete_image(prefix: str, store: str | None) -> list[tuple[str, str]]:
    """Return the image names with a prefix, in full or in short form, each with its digest."""
    return _ask(prefix, store, "image")


def complete_ref(prefix: str, store: str | None) -> list[tuple[str, str]]:
    """Return the refs with a prefix, each with the number of bytes that its ingest holds."""
    return _ask(prefix, store, "ref")


def _ask(prefix: str, root: str | None, what: str) -> list[tuple[str, str]]:
    # Imported here: this module is loaded with every command, and used for completion only.
    from steelyard.cli.settings import load  # noqa: PLC0415
    from steelyard.errors import SteelyardError  # noqa: PLC0415
    from steelyard.local.blocking import BlockingStore, OpenOptions  # noqa: PLC0415

    try:
        path = load({"store": root}).store_path
        with BlockingStore.open(OpenOptions.parse(path, read_only=True)) as store:
            return list(islice(_candidates(store, prefix, what), _CANDIDATES))
    except (SteelyardError, OSError):
        return []  # no store, so no candidates


def _candidates(store: BlockingStore, prefix: str, what: str) -> Iterator[tuple[str, str]]:
    from steelyard.cli.image_names import familiar  # noqa: PLC0415
    from steelyard.cli.names import human_size  # noqa: PLC0415

    if what == "ref":
        yield from ((one.ref, human_size(one.offset)) for one in store.statuses() if one.ref.startswith(prefix))
    elif what == "image":
        for image in store.images.list():
            names = (image.name, familiar(image.name))
            yield from ((name, str(image.target.digest)) for name in names if name.startswith(prefix))
    else:
        end = time.monotonic() + _SECONDS
        for info in chain.from_iterable(takewhile(lambda _: time.monotonic() < end, store.pages())):
            # Bash ends a word at a colon, so hex digits complete to hex digits, which identify the blob.
            names = (str(info.digest), info.digest.encoded)
            yield from ((name, human_size(info.size)) for name in names if name.startswith(prefix))
