"""The references of documents: each document that names blobs has an object with its references, which is written before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import msgspec

from steelyard._archive._references import DOCUMENT_LIMIT, NOTHING, References, may_be_document, references_in
from steelyard._runtime.calls import run
from steelyard._runtime.concurrent import map_concurrently
from steelyard.digest import Digest
from steelyard.errors import CollectionRefused, DataCorrupt
from steelyard.hashing import digest_of
from steelyard.model import Buffer
from steelyard.objects._decoding import decoded
from steelyard.objects._layout import DOCUMENTS, blob_key, digest_named, document_key
from steelyard.objects._requests import Missing, Requests, Taken

__all__ = ("Documents", "may_name", "register")

_AT_ONCE = 32

_INLINE = 64 << 10
"""The most bytes of a document that is parsed in the event loop's thread."""

_HEAD = 512
"""The number of first bytes that show of most blobs that they are not documents."""


class _Names(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an object below ``documents/``: the fields of `References`."""

    blobs: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    invalid: int = 0

    @classmethod
    def of(cls, named: References) -> _Names:
        return cls(
            blobs=tuple(map(str, named.blobs)),
            documents=tuple(map(str, sorted(named.documents))),
            subject=tuple(map(str, named.subject)),
            invalid=named.invalid,
        )

    def references(self) -> References:
        return References(
            blobs=tuple(map(Digest.parse, self.blobs)),
            documents=frozenset(map(Digest.parse, self.documents)),
            subject=tuple(map(Digest.parse, self.subject)),
            invalid=self.invalid,
        )


def may_name(data: Buffer) -> bool:
    """Return whether a blob may be a document, by its size and its first bytes."""
    view = memoryview(data)
    return view.nbytes <= DOCUMENT_LIMIT and may_be_document(bytes(view[:_HEAD]))


def _references(data: bytes) -> References:
    return msgspec.json.decode(data, type=_Names).references()


async def register(requests: Requests, digest: Digest, data: Buffer) -> bool:
    """Record the references of a blob before it is stored, and return whether it has any. A blob without references takes no request."""
    if not may_name(data):
        return False
    content = bytes(memoryview(data))
    named = references_in(content) if len(content) <= _INLINE else await run(references_in, content)
    if named._replace(is_whole=True) == NOTHING:
        return False
    await _write(requests, digest, named)
    return True


async def _write(requests: Requests, digest: Digest, named: References) -> None:
    with suppress(Taken):  # the same bytes name the same blobs
        await requests.put(document_key(digest), msgspec.json.encode(_Names.of(named)), create=True)


class Documents:
    """The documents that a collection knows, including those that are no longer stored.

    Args:
        requests: the server.
        is_stored: returns whether a blob is stored, as far as the collection knows.
    """

    def __init__(self, requests: Requests, is_stored: Callable[[Digest], bool]) -> None:
        self._requests = requests
        self._is_stored = is_stored
        self._known: dict[Digest, References] = {}
        self._referrers: dict[Digest, list[Digest]] = {}

    async def load(self) -> None:
        """Read the references of all documents."""
        pages = self._requests.pages(DOCUMENTS)
        while objects := await pages.next():
            await self.read(filter(None, (digest_named(each.key.removeprefix(DOCUMENTS)) for each in objects)))

    async def read(self, digests: Iterable[Digest]) -> None:
        """Read the references of some blobs. Skip those that are known already, or that have no recorded references."""

        async def read(digest: Digest) -> None:
            try:
                _, data = await self._requests.get(document_key(digest))
            except Missing:
                return
            self._add(
                digest, decoded(_references, data, key=document_key(digest), expected="the references of a document")
            )

        await map_concurrently([each for each in digests if each not in self._known], read, concurrency=_AT_ONCE)

    async def check(self, digest: Digest, size: int) -> bool:
        """Return whether a stored blob with the media type of a document is a valid document.

        If another program has stored it, it is read, and its references are recorded.

        Raises:
            DataCorrupt: the blob is damaged.
            CollectionRefused: the blob is too large to be read, so its references are unknown.
        """
        if digest in self._known:
            return self._known[digest].is_whole
        if size > DOCUMENT_LIMIT:
            reason = f"blob {digest}: a document of {size} bytes, documents of at most {DOCUMENT_LIMIT} bytes are read"
            raise CollectionRefused(self._requests.address, cause="document", reason=reason)
        try:
            _, data = await self._requests.get(blob_key(digest))
        except Missing:
            return True
        if (found := await digest_of(data, algorithm=digest.algorithm)) != digest:
            raise DataCorrupt(digest, expected=digest, actual=found)
        named = references_in(data) if may_be_document(data) else References(is_whole=False)
        if named._replace(is_whole=True) != NOTHING:
            await _write(self._requests, digest, named)
        self._add(digest, named)
        return named.is_whole

    def _add(self, digest: Digest, named: References) -> None:
        if digest not in self._known:
            self._known[digest] = named
            for subject in named.subject:
                self._referrers.setdefault(subject, []).append(digest)

    def is_known(self, digest: Digest) -> bool:
        """Return whether the references of a blob are known."""
        return digest in self._known

    def known(self) -> list[Digest]:
        """Return the digests of all documents that are known."""
        return list(self._known)

    def named_by(self, digest: Digest) -> References:
        """Return the references of a document."""
        return self._known.get(digest, NOTHING)

    def referrers_of(self, digest: Digest) -> Iterator[Digest]:
        """Yield the stored documents whose subject is this blob."""
        return filter(self._is_stored, self._referrers.get(digest, ()))
