"""Shell completion of digests, refs and image names from the store, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steelyard.local.blocking import BlockingStore

__all__ = ("complete_digest", "complete_image", "complete_ref")

_SECONDS = 0.3
_CANDIDATES = 200


def complete_digest(words: Any) -> list[tuple[str, str]]:
    """Return digests with the typed prefix; see cyclopts' completers."""
    return _ask(words, "digest")


def complete_image(words: Any) -> list[tuple[str, str]]:
    """Return image names with the typed prefix, in full or in short form; see cyclopts' completers."""
    return _ask(words, "image")


def complete_ref(words: Any) -> list[tuple[str, str]]:
    """Return refs with the typed prefix; see cyclopts' completers."""
    return _ask(words, "ref")


def _ask(words: Any, what: str) -> list[tuple[str, str]]:
    # Imported here: this module is loaded with every command, and used for completion only.
    from steelyard.cli.settings import load  # noqa: PLC0415
    from steelyard.errors import SteelyardError  # noqa: PLC0415
    from steelyard.local.blocking import BlockingStore, OpenOptions  # noqa: PLC0415

    try:
        path = load({"store": _store_option(words)}).store_path
        with BlockingStore.open(OpenOptions.parse(path, read_only=True)) as store:
            return list(islice(_candidates(store, words.incomplete, what), _CANDIDATES))
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


def _store_option(words: Any) -> str | None:
    """Return the --store of the partly typed command line."""
    option = words["store"]
    return option.raw if option is not None and option.provided else None
