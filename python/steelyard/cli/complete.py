"""Shell completion of digests, refs and image names from the store, within a time limit."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

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
    import anyio  # noqa: PLC0415 - this module is loaded with every command, and used for completion only

    from steelyard.errors import SteelyardError  # noqa: PLC0415

    try:
        return anyio.run(_candidates, words, what)
    except (SteelyardError, OSError):
        return []  # no store, so no candidates


async def _candidates(words: Any, what: str) -> list[tuple[str, str]]:
    import anyio  # noqa: PLC0415

    from steelyard.cli.image_names import familiar  # noqa: PLC0415
    from steelyard.cli.names import human_size  # noqa: PLC0415
    from steelyard.cli.settings import load  # noqa: PLC0415
    from steelyard.local import LocalStore  # noqa: PLC0415

    found: list[tuple[str, str]] = []
    with anyio.move_on_after(_SECONDS):
        async with LocalStore(load({"store": _store_option(words)}).store_path, read_only=True) as store:
            if what == "ref":
                statuses = await store.list_statuses()
                return [(one.ref, human_size(one.offset)) for one in statuses if one.ref.startswith(words.incomplete)]
            if what == "image":
                return [
                    (name, str(image.target.digest))
                    for image in await store.images.list()
                    for name in (image.name, familiar(image.name))
                    if name.startswith(words.incomplete)
                ][:_CANDIDATES]
            async with aclosing(store.walk()) as infos:
                async for info in infos:
                    # Bash ends a word at a colon, so hex digits complete to hex digits, which identify the blob.
                    for name in (str(info.digest), info.digest.encoded):
                        if name.startswith(words.incomplete):
                            found.append((name, human_size(info.size)))
                            break
                    if len(found) == _CANDIDATES:
                        break
    return found


def _store_option(words: Any) -> str | None:
    """Return the --store of the partly typed command line."""
    option = words["store"]
    return option.raw if option is not None and option.provided else None
