"""One fetch: requests until the whole file is stored.

**Never two versions in one blob.** Bytes are added to an ingest only if its proof covers them: a part that was sent under a strong
validator of the same version, or any bytes if the digest of the whole is known, because the commit then compares it. Without a proof,
each attempt begins at the start of the file.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Literal
from uuid import uuid4

import anyio
import msgspec

from steelyard.content import Store, Writer
from steelyard.digest import Digest
from steelyard.errors import (
    AlreadyExists,
    DataCorrupt,
    InvalidResponse,
    NotFound,
    SteelyardError,
    Unavailable,
    UnexpectedDigest,
    UnexpectedSize,
    Unreachable,
)
from steelyard.fetch._checks import check_answer, check_end, noted
from steelyard.fetch._earlier import ONCE, EarlierIngests, joined, proof_of_validator, validator_of_proof
from steelyard.fetch._origin import Answer, Origin
from steelyard.fetch._parts import LEAST_BYTES, Parts, UnexpectedPart, Version
from steelyard.fetch._pauses import Changed, Pauses, Retries, Transient, Unsatisfiable
from steelyard.model import Buffer, PutResult
from steelyard.options import PutOptions
from steelyard.transfer import open_writer

__all__ = ("Transfer", "Wanted")

_IN_MEMORY_BYTES = 1 << 20
"""The largest file that is received in memory and put as a whole, without an ingest. Receiving it again is quick."""

_SHORT_PART_BYTES = 64 << 10
"""A server may send less than the requested range. If it has sent at least this much, the rest is requested at once, without a pause."""

_ABORT_SECONDS = 2.0
_GIVEN = "given"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The file that a fetch is to store.

    Attributes:
        base: the base of the ref.
        is_given: whether the caller guarantees that `base`, as the whole ref, always stands for the same bytes.
        options: the options of a put; the ref is not used.
        retries: when and how often to try again.
        ranges: the most ranges at once.
    """

    base: str
    is_given: bool = False
    options: PutOptions
    retries: Retries
    ranges: int = 1


class Transfer:
    """The state of one fetch. Its ingest is opened when more bytes arrive than are kept in memory."""

    def __init__(self, store: Store, origin: Origin, wanted: Wanted) -> None:
        self._store = store
        self._origin = origin
        self._wanted = wanted
        self._options = wanted.options
        self._writer: Writer | None = None
        self._reset()
        self._is_second_try = False
        self._ranges = wanted.ranges

    def _reset(self) -> None:
        """Forget the version of the file."""
        self._proof: str | None = None
        self._validator: str | None = None
        self._digest: Digest | None = self._options.expected
        self._total: int | None = self._options.size
        self._is_mixed = False  # whether the ingest has bytes of several responses
        self._in_parts = False

    async def run(self, earlier: EarlierIngests) -> PutResult:
        """Store the file.

        Raises:
            Unreachable: the attempts are used up.
            NotFound, ServerRefused, InvalidResponse, UnexpectedSize, UnexpectedDigest: see `steelyard.fetch.fetch`.

        Cancellation:
            The ingest is kept if its bytes have a proof, and discarded otherwise.
        """
        pauses = Pauses(self._wanted.retries)
        try:
            await self._resume(earlier)
            while True:
                try:
                    result = await self._attempt()
                except Transient as error:
                    await self._pause(pauses, error)
                else:
                    if isinstance(result, bytes):
                        return await self._put(result)  # after the connection was returned for other files
                    if result is not None:
                        return result
        except AlreadyExists as stored:
            info = await self._store.info(stored.digest)
            return PutResult(digest=info.digest, size=info.size, new=False)
        finally:
            await self._leave()

    async def _pause(self, pauses: Pauses, error: Transient) -> None:
        offset = 0 if self._writer is None else self._writer.offset
        seconds = pauses.next(error, offset)
        if seconds is None:
            asked = "" if error.seconds is None else f", and it asks to wait {error.seconds:.0f} s"
            of = "" if self._total is None else f" of {self._total}"
            raise Unreachable(self._origin.shown, reason=f"{error.reason}{asked}, after {offset}{of} bytes") from None
        await anyio.sleep(seconds)

    async def _resume(self, earlier: EarlierIngests) -> None:
        """Open the ingest of an earlier fetch, and discard the ingests that cannot be resumed."""
        for ref in earlier.useless(self._wanted.base):
            await self._drop(ref)
        proof = self._proof_of(None)
        if proof is None:
            found = earlier.newest(self._wanted.base, self._options.algorithm)
        else:
            status = earlier.get(self._ref(proof))
            found = None if status is None else (proof, status)
        if found is None:
            return
        proof, status = found  # its offset is the durable one; the writer may have more
        self._validator = validator_of_proof(proof)
        if self._validator is None and proof != _GIVEN and self._digest is None:
            self._digest = Digest.parse(proof)
        self._total = status.total if self._total is None else self._total
        writer = await self._open(proof)
        self._is_mixed = writer.offset > 0

    async def _drop(self, ref: str) -> None:
        with suppress(NotFound, Unavailable):
            # Another fetch may be using the ingest. The open writer excludes it.
            writer = await self._store.writer(ref)
            try:
                await self._store.abort(ref)
            finally:
                await writer.aclose()

    def _proof_of(self, answer: Answer | None) -> str | None:
        """Return the proof of the bytes of an answer. For None, return the proof that does not depend on the answer, if there is one."""
        if self._options.expected is not None:
            return str(self._options.expected)
        if self._wanted.is_given:
            return _GIVEN
        if answer is None:
            return None
        if answer.digest is not None:
            return str(answer.digest)
        return None if answer.validator is None else proof_of_validator(answer.validator)

    def _ref(self, proof: str | None) -> str:
        if proof == _GIVEN:
            return self._wanted.base
        return joined(self._wanted.base, f"{ONCE}{uuid4().hex}" if proof is None else proof)

    async def _open(self, proof: str | None) -> Writer:
        """Open the ingest of a proof. Raises AlreadyExists if the digest of the whole is known and stored."""
        self._writer = await open_writer(
            self._store,
            self._ref(proof),
            size=self._total,
            expected=self._digest,
            algorithm=self._options.algorithm,
            on_wait=partial(self._report, "wait", 0),
        )
        self._proof = proof
        return self._writer

    async def _attempt(self) -> PutResult | bytes | None:
        """Make one request. Return the result, the bytes of a whole small file, or None if another request is needed."""
        offset = await self._offset()
        if self._in_parts and self._writer is not None and self._total is not None:
            return await self._take_parts(self._writer, self._total)
        try:
            async with self._origin.open(offset, self._validator if offset else None) as answer:
                check_answer(self._origin.shown, self._options, self._total, self._digest, answer)
                if self._writer is None or not await self._continues(self._writer, answer):
                    return await self._begin(answer)
                return await self._take(self._writer, answer, [])
        except Unsatisfiable as error:
            if error.total != offset or self._total is not None:
                await self._discard()
            else:
                self._total = error.total  # all bytes are there, and the next request asks for the last one again
            return None
        except Changed:
            await self._discard()
            raise Transient("the file changed") from None

    async def _offset(self) -> int:
        """Return the position at which the next request begins."""
        writer = self._writer
        if writer is None or self._proof is None:
            return 0
        if self._total and writer.offset >= self._total:
            # All bytes are there. The last one is requested again, because only a response shows that the version is still current.
            await writer.truncate(self._total - 1)
        return writer.offset

    async def _continues(self, writer: Writer, answer: Answer) -> bool:
        """Return whether the ingest can continue with the answer. Bytes of another version are truncated before."""
        if not answer.offset and (self._proof is None or self._proof_of(answer) != self._proof):
            await self._discard()
            return False
        self._total = self._total if answer.total is None else answer.total
        if answer.offset:
            self._is_mixed = True
            return True
        if writer.offset and (self._validator is None or self._validator != answer.validator):
            await writer.truncate(0)
        self._is_mixed = bool(writer.offset)
        self._validator = answer.validator
        return True

    async def _begin(self, answer: Answer) -> PutResult | bytes | None:
        """Receive an answer from the start of the file: a small file in memory, a larger one into an ingest."""
        self._reset()
        self._total = self._total if answer.total is None else answer.total
        self._digest = self._digest or answer.digest
        self._validator = answer.validator
        proof = self._proof_of(answer)
        first: list[Buffer] = []
        size, broken = 0, None
        if self._total is None or self._total <= _IN_MEMORY_BYTES:
            try:
                async for piece in answer.pieces:
                    first.append(piece)
                    size += len(memoryview(piece))
                    if size > _IN_MEMORY_BYTES:
                        break
                else:
                    return self._whole(first, size, answer)
            except Transient as error:
                if self._total is not None or proof is None:
                    raise
                broken = error  # the file may be large, so the bytes so far are kept
        writer = await self._open(proof)
        if writer.offset:  # another fetch has left bytes meanwhile
            await self._continues(writer, answer)
        return await self._take(writer, answer, first, broken)

    def _whole(self, first: list[Buffer], size: int, answer: Answer) -> bytes:
        if self._total is not None and size < self._total:
            raise Transient(f"the response ended after {size} bytes")
        self._check_end(size, answer)
        return b"".join(first)

    async def _put(self, data: bytes) -> PutResult:
        self._report("write", len(data))
        options = self._options
        try:
            return await self._store.put(
                data,
                size=self._total,
                expected=self._digest,
                algorithm=options.algorithm,
                labels=options.labels or None,
            )
        except UnexpectedDigest as error:
            raise self._noted(error) from None

    def _noted(self, error: Exception) -> Exception:
        """Return an error of the store. An UnexpectedDigest names the source in place of the ref of the ingest."""
        if isinstance(error, UnexpectedDigest):
            return noted(UnexpectedDigest(expected=error.expected, actual=error.actual), self._origin.shown)
        return error

    async def _take(
        self, writer: Writer, answer: Answer, first: list[Buffer], broken: Transient | None = None
    ) -> PutResult | None:
        """Write the new bytes of an answer to the ingest, and commit the ingest if it is complete.

        Args:
            writer: the writer.
            answer: the answer.
            first: the pieces of the answer that were received already.
            broken: the error after these pieces, or None.
        """
        if self._splits(writer, answer):
            self._in_parts = True
            return None  # the answer is dropped; only its first bytes were received
        begin, place = writer.offset, answer.offset
        for piece in first:
            place = await self._write(writer, piece, place, answer)
        first.clear()
        if broken is not None:
            raise broken
        async for piece in answer.pieces:
            place = await self._write(writer, piece, place, answer)
        total = place if self._total is None else self._total
        if writer.offset >= total:
            return await self._commit(writer, total)
        if writer.offset - begin < _SHORT_PART_BYTES:
            raise Transient(f"the response ended after {place - answer.offset} bytes")
        return None

    def _splits(self, writer: Writer, answer: Answer) -> bool:
        """Return whether the rest of the file is requested in parts: it is large, and a proof shows that the parts belong together."""
        has_place = answer.offset == writer.offset and self._total is not None
        is_proved = self._validator is not None or self._digest is not None
        is_large = has_place and (self._total or 0) - writer.offset >= LEAST_BYTES
        return self._ranges > 1 and answer.takes_ranges and is_proved and is_large

    async def _take_parts(self, writer: Writer, total: int) -> PutResult | None:
        """Write the rest of the file, with several requests at once. After an unexpected answer, continue with single requests."""
        version = Version(validator=self._validator, digest=self._digest, total=total)
        parts = Parts(self._origin, version, begin=writer.offset, most=self._ranges)

        async def take(piece: Buffer) -> None:
            await writer.write(piece)
            self._report("write", writer.offset)

        self._in_parts, self._is_mixed = False, True
        try:
            await parts.run(take)
        except UnexpectedPart:
            self._ranges = 1
            return None
        except Transient:
            self._ranges = 1 if parts.is_refused else self._ranges
            raise
        return await self._commit(writer, total)

    async def _write(self, writer: Writer, piece: Buffer, place: int, answer: Answer) -> int:
        """Write the new bytes of a piece that begins at `place` in the file, and return the position after it."""
        data = memoryview(piece)
        after = place + len(data)
        self._check_end(after, answer)
        new = data[max(0, writer.offset - place) :]
        if new:
            await writer.write(piece if len(new) == len(data) else new)
            self._report("write", writer.offset)
        return after

    def _check_end(self, place: int, answer: Answer) -> None:
        try:
            check_end(self._origin.shown, self._options, self._total, answer, place)
        except (UnexpectedSize, InvalidResponse):
            self._proof = None  # a server that sends more bytes than it has announced is not trusted
            raise

    async def _commit(self, writer: Writer, total: int) -> PutResult | None:
        self._report("commit", total)
        try:
            info = await writer.commit(size=total, expected=self._digest, labels=self._options.labels or None)
        except (UnexpectedDigest, DataCorrupt) as error:
            is_mixed, self._is_mixed = self._is_mixed, False
            await self._discard()
            if is_mixed and not self._is_second_try:
                # The file or the store may have changed in between: fetch the file once more from its start.
                self._is_second_try, self._ranges = True, 1
                return None
            raise self._noted(error) from None
        self._writer = None
        return PutResult(digest=info.digest, size=info.size, new=True)

    async def _discard(self) -> None:
        """Drop the ingest, and forget the version."""
        self._proof = None
        await self._leave()
        self._reset()

    async def _leave(self) -> None:
        """Close the writer, and discard the ingest unless it has bytes with a proof."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        is_useful = self._proof is not None and writer.offset > 0
        # CANCEL: shielded, so that the ref is free for the next fetch, which then resumes the ingest or begins a new one.
        with anyio.CancelScope(shield=True):
            await writer.aclose()
        if not is_useful:
            with anyio.move_on_after(_ABORT_SECONDS, shield=True), suppress(SteelyardError):
                await self._store.abort(writer.ref)

    def _report(self, phase: Literal["wait", "write", "commit"], done: int) -> None:
        self._options.report(phase, self._origin.shown, done, self._total)
