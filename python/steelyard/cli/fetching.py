"""`fetch`: download files by their URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from importlib import import_module
from pathlib import Path
from typing import Annotated

from steelyard._runtime.calls import run
from steelyard.cli.context import MOST_LISTED, Context
from steelyard.cli.exits import Exit, exit_of
from steelyard.cli.explain import UsageError
from steelyard.cli.meter import Meter
from steelyard.cli.names import amount, counted, labels_of
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import path_shown, quoted, shown
from steelyard.cli.protecting import kept_for_a_day
from steelyard.cli.records import Record
from steelyard.digest import Digest
from steelyard.errors import InvalidArgument
from steelyard.fetch import FetchItem, Sums, fetch_many, shown_url
from steelyard.fetch._address import parse_url
from steelyard.model import PutManyResult
from steelyard.names import check_name

__all__ = ("DownloadedRecord", "fetch")

_SUMS_BYTES = 64 << 20
_PER_HOST = 6
"""The most connections to a host, unless more ranges are requested at once."""


class DownloadedRecord(Record, frozen=True, tag="downloaded"):
    """A downloaded file."""

    url: str
    digest: str
    size: int
    new: bool
    name: str | None


async def fetch(
    *urls: Annotated[str, Parameter(name="URL", required=True)],
    sums: str | None = None,
    expected: str | None = None,
    name: str | None = None,
    ref: str | None = None,
    ranges: int = 4,
    label: Annotated[list[str] | None, Parameter(name="--label")] = None,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Download files by their URLs, and print their digests.

    After an interruption the same command resumes the downloads, if the server sends a strong validator or the digest is known. The user,
    password and query of a URL are never shown.

    Args:
        urls: HTTP or HTTPS URLs.
        sums: a file with the digests of all files, such as SHA256SUMS.
        expected: the digest that the file must have, for a single URL; if it is already stored, nothing is downloaded.
        name: an image name to set for the file, for a single URL.
        ref: the base of the ingest's ref, for a single URL that is different each time.
        ranges: the most ranges of a file of 64 MiB and more that are requested at once, by default 4; 1 for servers that allow one connection.
        label: KEY=VALUE, set on new blobs; may be repeated.
        context: the run.
    """
    _check_options({"--expected": expected, "--name": name, "--ref": ref}, len(urls), sums=sums, ranges=ranges)
    labels = labels_of(label or ())
    digest = None if expected is None else Digest.parse(expected)
    items = [FetchItem(url=url, expected=digest, ref=ref, name=name) for url in _checked(urls)]
    if name is not None:
        check_name(name)
    if sums is not None:
        items = await run(_with_sums, items, sums)
    _check_installed()
    meter = Meter(items="file", items_total=len(urls)) if len(urls) > 1 else Meter()
    context.begin("downloaded", "files", "bytes", "new", "existing", meter=meter, many=len(urls) > MOST_LISTED)
    context.on_interrupt("complete files are stored; other downloads resume if the server or a digest allows it")
    secret = any(shown_url(url) != url for url in urls)
    context.on_interrupt(f"resume with: {'the same command' if secret else context.same_command}")
    async with context.open_store(create=True) as store:
        results = fetch_many(
            await kept_for_a_day(context, store, "stored"),
            items,
            per_host=max(_PER_HOST, ranges),
            ranges=ranges,
            labels=labels or None,
            on_progress=context.telling(meter.take),
            errors="yield",
        )
        async with aclosing(results):
            async for one in results:
                await _report(context, one)
    counts = context.counts
    context.conclude(
        f"{counted(counts['files'], 'file')}, {amount(counts['bytes'])}: {counts['new']} new, {counts['existing']} already there"
    )


def _check_options(of_one: Mapping[str, str | None], urls: int, *, sums: str | None, ranges: int) -> None:
    """Refuse options that cannot be combined. Raises UsageError."""
    message = ""
    for option, value in of_one.items():
        if value is not None and urls > 1:
            message = f"{option}: expected one URL, found {urls}"
    if sums is not None and of_one["--expected"] is not None:
        message = "--sums and --expected: expected one of them"
    if ranges < 1:
        message = f"--ranges: expected 1 or more, found {ranges}"
    if message:
        raise UsageError(message, next_step="steelyard fetch --help")


def _checked(urls: Sequence[str]) -> Sequence[str]:
    """Return the URLs.

    Raises:
        UsageError: an argument is not an HTTP URL. The message has only its position, because the URL may have a password.
    """
    for place, url in enumerate(urls, 1):
        try:
            parse_url(url)
        except InvalidArgument as error:
            raise UsageError(f"argument {place}: {error}", next_step="steelyard fetch --help") from None
    return urls


def _with_sums(items: list[FetchItem], path: str) -> list[FetchItem]:
    """Return the items with their digests.

    Raises:
        UsageError: a file has none.
    """
    with Path(path).open("rb") as file:
        data = file.read(_SUMS_BYTES + 1)
    if len(data) > _SUMS_BYTES:
        raise UsageError(f"{path_shown(path)}: expected at most {amount(_SUMS_BYTES)} of digests, found more")
    sums = Sums.parse(data.decode("utf-8", "replace"))
    found = []
    for item in items:
        digest = sums.digest_of(item.url)
        if digest is None:
            raise UsageError(
                f"{shown_url(item.url)}: no digest of it in {path_shown(path)}", next_step=f"cat {quoted(path)}"
            )
        found.append(FetchItem(url=item.url, expected=digest, ref=item.ref, name=item.name))
    return found


def _check_installed() -> None:
    """Raise UsageError if the optional extra is missing."""
    try:
        import_module("steelyard.fetch._http")
    except ImportError as error:
        if "steelyard[http]" not in str(error):
            raise
        raise UsageError("fetch: httpx2 is not installed", next_step="pip install 'steelyard[cli,http]'") from error


async def _report(context: Context, one: PutManyResult) -> None:
    item: FetchItem = one.source
    url = shown_url(item.url)
    if one.error is not None:
        if exit_of(one.error) is Exit.NO_SPACE:
            raise one.error  # all other files would fail, too
        context.fail(one.error, about=url)
        return
    result = one.result
    context.display.finished(url, result.size)
    counts, digest = context.counts, str(result.digest)
    counts["files"] += 1
    counts["bytes"] += result.size
    counts["new" if result.new else "existing"] += 1
    record = DownloadedRecord(url=url, digest=digest, size=result.size, new=result.new, name=item.name)
    line = digest if context.quiet else f"{digest}  {shown(url)}"
    await context.out.emit(record, line if context.lists else "")
