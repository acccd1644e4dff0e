"""Downloads into a store: resumable, verified and durable.

| Function | Does |
| --- | --- |
| `fetch` | download a URL, or anything else that opens at an offset |
| `fetch_many` | download many URLs at once |
| `Sums` | the digests of a file such as ``SHA256SUMS`` |

They work with every `Store`, on asyncio and trio. URLs need the extra ``http``, which is imported with the first URL.

**Versions.** A download is continued only if its bytes belong to one version: by Range with If-Range on a strong validator (RFC 9110), or if
the digest of the whole is known. Otherwise each attempt begins at the start. A blob never has bytes of two versions of a file.

**Large files.** Several ranges of one version are requested at once, and stored in order.

**Secrets.** Errors, refs, progress and logs never contain the user, password or query of a URL. Credentials go only to the URL's own host.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping

import msgspec

from steelyard._runtime.concurrent import Emit, call_each, check_concurrency, emitted
from steelyard.content import Store
from steelyard.content._many import Errors, of_items
from steelyard.content._put_many import UntilEnded
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, UnexpectedSize
from steelyard.fetch._address import parse_url
from steelyard.fetch._earlier import EarlierIngests
from steelyard.fetch._origin import FunctionOrigin, OpenAt, Origin
from steelyard.fetch._pauses import Retries
from steelyard.fetch._sums import Sums
from steelyard.fetch._transfer import Transfer, Wanted
from steelyard.images.leases import LeaseGuard, own_or_new_guard
from steelyard.model import Descriptor, OnProgress, PutManyResult, PutResult
from steelyard.names import check_name
from steelyard.options import PutOptions, check_ref

__all__ = ("FetchItem", "OpenAt", "Retries", "Sums", "fetch", "fetch_many", "shown_url")

_RETRIES = Retries()
_PER_HOST = 6
_RANGES = 4


class FetchItem(msgspec.Struct, frozen=True, kw_only=True):
    """One of many downloads.

    Attributes:
        url: the URL.
        expected: the digest that the file must have, or None. If that blob is already stored, nothing is requested.
        size: the size that the file must have, or None.
        ref: the base of the ref, or None for a base that is made from the URL.
        name: an image name for the blob, or None.
        headers: fields for the URL's own host, for example ``Authorization``.
    """

    url: str
    expected: Digest | str | None = None
    size: int | None = None
    ref: str | None = None
    name: str | None = None
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"<FetchItem {shown_url(self.url)}>"


def shown_url(url: str) -> str:
    """Return a URL for people: scheme, host, port and path, without user, password and query.

    ```pycon
    >>> shown_url("https://me:secret@example.org/a?key=secret")
    'https://example.org/a'

    ```
    """
    try:
        return parse_url(url).shown
    except InvalidArgument:
        return "an invalid URL"


async def fetch(
    store: Store,
    url: str | None = None,
    *,
    open_at: OpenAt | None = None,
    expected: Digest | str | None = None,
    size: int | None = None,
    algorithm: Algorithm | None = None,
    labels: Mapping[str, str] | None = None,
    ref: str | None = None,
    name: str | None = None,
    headers: Mapping[str, str] | None = None,
    ranges: int = _RANGES,
    retries: Retries = _RETRIES,
    tls: ssl.SSLContext | None = None,
    on_progress: OnProgress | None = None,
) -> PutResult:
    """Download a file into a store, durably, and return its digest, its size and whether it was new.

    After an interruption, even by ``kill -9``, the same call resumes the download. A file of up to 1 MiB is received in memory instead, and
    each attempt begins at its start. The lease of `store` protects the blob from garbage collection; without a lease, the blob is protected
    until the fetch ends. After that, `name` protects it.

    Args:
        store: any store.
        url: ``http://`` or ``https://``. User and password in it are sent as Basic authorization.
        open_at: a source in place of a URL: called with an offset, it returns the bytes from that offset on. If it raises `ConnectionError`,
            `TimeoutError` or `Unreachable`, it is called again.
        expected: the digest that the file must have. If that blob is already stored, nothing is requested.
        size: the size that the file must have.
        algorithm: the algorithm of the blob's digest; by default that of `expected`, or SHA-256.
        labels: labels for a new blob; an existing blob keeps its labels.
        ref: the base of the ref of the ingest, by default made from the URL; the digest or the validator is added to it. With `open_at` and
            no `expected`, it is the whole ref, and stands for exactly these bytes: choose another one when the source changes.
        name: an image name that is set to the blob. An existing name is moved.
        headers: fields for the URL's own host. A redirect to another host does not get them. Fields that the fetch writes itself, such as
            Range, are refused.
        ranges: the most ranges of a large file that are requested at once, each on its own connection. A file is large from 64 MiB on. The
            server must support ranges, and there must be a strong validator or a known digest. Up to 8 MiB of each range wait in memory.
        retries: how often and how long to try again.
        tls: certificates and keys; by default those that the machine trusts.
        on_progress: called with `Progress`.

    Raises:
        Unreachable: the server does not answer, or its responses are cut off, and the attempts are used up.
        NotFound: the server does not have the file (404, 410).
        ServerRefused: another status, or an untrusted certificate.
        InvalidResponse: a response that contradicts itself or the request, a content coding, or a redirect that is not followed.
        UnexpectedSize, UnexpectedDigest: the file has another size or digest than the caller or the server says.
        InvalidArgument: the URL, a header or the proxy of the environment is invalid; or neither or both of `url` and `open_at` are given.
        ImportError: the extra ``http`` is not installed.
        StorageError, and any other error of the store or of `open_at`.

    Cancellation:
        Nothing becomes visible. The bytes so far are kept if a later fetch can continue them: with a strong validator, or if the digest
        of the whole is known.

    Spec: RFC 9110 (ranges and validators), RFC 9530 (Repr-Digest and Content-Digest, of the blob's own algorithm).
    """
    if (url is None) == (open_at is None):
        raise InvalidArgument("fetch: expected a URL or open_at, and not both")
    options = PutOptions.parse(
        size=size, expected=expected, algorithm=algorithm, labels=labels, on_progress=on_progress
    )
    _check(ref, name)
    check_concurrency(ranges)
    if open_at is not None:
        wanted = Wanted(
            base="fetch:source" if ref is None else ref,
            is_given=ref is not None and options.expected is None,
            options=options,
            retries=retries,
        )
        shown = ref or ("a source" if options.expected is None else str(options.expected))
        origin: Origin = FunctionOrigin(open_at, size=size, shown=shown)
        async with own_or_new_guard(store) as guard:
            return await _fetch(guard, origin, wanted, await EarlierIngests.by(guard.store), name)
    from steelyard.fetch._http import HttpOrigin, connected  # noqa: PLC0415 - it needs an extra

    address = parse_url(url or "")
    wanted = Wanted(base=address.ref if ref is None else ref, options=options, retries=retries, ranges=ranges)
    async with own_or_new_guard(store) as guard, connected(per_host=ranges, retries=retries, tls=tls) as connections:
        origin = HttpOrigin(connections, address, headers or {}, algorithm=options.algorithm)
        return await _fetch(guard, origin, wanted, await EarlierIngests.by(guard.store), name)


def fetch_many(
    store: Store,
    items: Iterable[FetchItem | str] | AsyncIterable[FetchItem | str],
    *,
    concurrency: int = 32,
    per_host: int = _PER_HOST,
    ranges: int = _RANGES,
    algorithm: Algorithm | None = None,
    labels: Mapping[str, str] | None = None,
    retries: Retries = _RETRIES,
    tls: ssl.SSLContext | None = None,
    on_progress: OnProgress | None = None,
    errors: Errors = "raise",
) -> AsyncGenerator[PutManyResult, None]:
    """Download many URLs at once, and yield each result as it finishes; its `source` is the item.

    `items` is read only as fast as results are taken. Each download holds at most about 1 MiB in memory, and each further range of a large
    file up to 8 MiB, so memory is bounded by `concurrency` and `per_host`.
    A failed item does not stop the others. Close the iterator (`contextlib.aclosing`) to stop early. Stored blobs are protected from
    garbage collection until the iterator ends. The other arguments are those of `fetch`.

    Args:
        store: any store.
        items: URLs, or items with more options.
        concurrency: the most items in work at a time: downloads, and small files that are being stored, together where possible.
        per_host: the most connections to one host at a time.
        ranges: the most ranges of one large file at once, as for `fetch`. They only use connections that no other file waits for.
        algorithm: the algorithm of the digests of items without `expected`.
        labels: labels for new blobs.
        retries: how often and how long each item is tried again.
        tls: certificates and keys.
        on_progress: called with `Progress`; its name is the URL without secrets.
        errors: ``"raise"`` yields only successes, and raises the errors of failed items at the end; ``"yield"`` also yields a result for
            each failed item.

    Raises:
        ExceptionGroup: items failed; see `Store.put_many`.
        InvalidArgument: `concurrency`, `per_host` or `ranges` is less than 1, or `errors` is neither ``"raise"`` nor ``"yield"``.
        InvalidLabel: a label is invalid. Raised at once, not for each item.
        LeaseEnded: the lease of this call, or of `store`, has ended; the remaining items are not stored.
    """
    check_concurrency(concurrency)
    check_concurrency(per_host)
    check_concurrency(ranges)
    PutOptions.parse(algorithm=algorithm, labels=labels)

    async def work(emit: Emit[PutManyResult]) -> None:
        from steelyard.fetch._http import HttpOrigin, connected  # noqa: PLC0415 - it needs an extra

        async with (
            own_or_new_guard(store) as guard,
            connected(per_host=per_host, retries=retries, tls=tls) as connections,
        ):
            earlier = await EarlierIngests.by(guard.store)

            async def one(index: int, item: FetchItem | str) -> None:
                try:
                    outcome: PutResult | Exception = await fetched(
                        FetchItem(url=item) if isinstance(item, str) else item
                    )
                except Exception as error:  # noqa: BLE001  # the result carries it
                    outcome = error
                await emit([PutManyResult(index=index, source=item, outcome=outcome)])

            async def fetched(item: FetchItem) -> PutResult:
                address = parse_url(item.url)
                options = PutOptions.parse(
                    size=item.size,
                    expected=item.expected,
                    algorithm=None if item.expected is not None else algorithm,
                    labels=labels,
                    on_progress=on_progress,
                )
                _check(item.ref, item.name)
                wanted = Wanted(base=item.ref or address.ref, options=options, retries=retries, ranges=ranges)
                origin = HttpOrigin(connections, address, item.headers, algorithm=options.algorithm)
                return await _fetch(guard, origin, wanted, earlier, item.name)

            await call_each(items, one, concurrency=concurrency)

    return of_items(UntilEnded(emitted(work)), errors, "fetch_many", _shown_item)


def _shown_item(item: FetchItem | str) -> str:
    return shown_url(item if isinstance(item, str) else item.url)


def _check(ref: str | None, name: str | None) -> None:
    if ref is not None:
        check_ref(ref)
    if name is not None:
        check_name(name)


async def _fetch(
    guard: LeaseGuard, origin: Origin, wanted: Wanted, earlier: EarlierIngests, name: str | None
) -> PutResult:
    """Store the file of an origin, unless its digest is known and already stored, and set the name."""
    result = await _stored(guard, wanted.options)
    if result is None:
        result = await Transfer(guard.store, origin, wanted).run(earlier)
    if name is not None:
        target = Descriptor(digest=result.digest, size=result.size)
        await guard.store.images.assign({name: target}, overwrite=True)
    return result


async def _stored(guard: LeaseGuard, options: PutOptions) -> PutResult | None:
    """Return the result for a blob whose digest is known and that is already stored, or None. From now on it is protected."""
    digest = options.expected
    info = None if digest is None else (await guard.store.infos([digest])).get(digest)
    if digest is None or info is None or not await guard.find_stored({digest: info.size}):
        return None
    if options.size not in {None, info.size}:
        raise UnexpectedSize(expected=options.size or 0, actual=info.size)
    return PutResult(digest=digest, size=info.size, new=False)
