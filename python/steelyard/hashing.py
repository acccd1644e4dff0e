"""Digests of bytes that need not be stored: a streaming `Hasher`, and `digest_of` for any source.

Native code computes them with the GIL released, on one core per call: about 2 GB/s for SHA-256 on a
processor with SHA instructions, several times that for BLAKE3.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import AsyncIterable, Callable, Iterable
from functools import partial
from typing import Protocol, cast, final, runtime_checkable

from anyio.lowlevel import checkpoint

from steelyard._native import Hasher as _NativeHasher
from steelyard._native import Job
from steelyard._runtime import calls
from steelyard._runtime.chunks import slices
from steelyard._runtime.files import at_once
from steelyard._runtime.jobs import watched
from steelyard._runtime.pipes import readable
from steelyard.digest import Algorithm, Digest
from steelyard.errors import InvalidArgument, OutOfRange
from steelyard.model import DEFAULT_ALGORITHM, Buffer, FileRange, OnProgress, Progress, Source
from steelyard.options import name_of

__all__ = ("Hasher", "digest_of")

_INLINE = 64 << 10
"""Below this size, hashing (30 µs) costs less than a thread hop. It is also the number of bytes between two checkpoints."""

_READ = 256 << 10
"""The size of one read of a file: the bytes are hashed while they are in the processor's second-level cache."""


@final
class Hasher:
    """Computes digests of one sequence of bytes, with one or more algorithms in one pass, like hashlib.

    `update` works in the caller's thread; in an async program use `digest_of`, or a thread, for more than a few KiB.
    Calls from several threads are safe and run one after the other. A hasher is a value: a forked child has its own
    copy, with the bytes hashed before the fork. To pass a hasher to another process, pass its `state`.

    >>> hasher = Hasher("sha256")
    >>> hasher.update(b"hello ")
    >>> hasher.update(b"world")
    >>> str(hasher.digest())
    'sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9'
    >>> [digest.algorithm.value for digest in Hasher("sha512", "blake3").digests()]
    ['sha512', 'blake3']

    Args:
        algorithms: the algorithms, each at most once; SHA-256 by default.

    Raises:
        UnsupportedAlgorithm, InvalidDigest: a name is not that of an algorithm.
        InvalidArgument: an algorithm is given twice.
    """

    __slots__ = ("_native",)

    def __init__(self, *algorithms: Algorithm | str) -> None:
        self._native = _NativeHasher([str(algorithm) for algorithm in algorithms or (DEFAULT_ALGORITHM,)])

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """The algorithms, in the given order."""
        return tuple(Algorithm(name) for name in self._native.algorithms)

    @property
    def offset(self) -> int:
        """Bytes hashed so far."""
        return self._native.offset

    def update(self, data: Buffer) -> None:
        """Hash `data`; from 2 KiB on the GIL is released meanwhile.

        Args:
            data: one-dimensional, contiguous, one-byte items; not used after the call. If another thread changes the buffer
                during the call, the digest is that of a mixture of old and new bytes.

        Raises:
            BufferError: a buffer of another shape.
            TypeError: not a buffer.
        """
        self._native.update(data)

    def digest(self) -> Digest:
        """Return the digest of the bytes hashed so far; more may follow.

        Raises:
            InvalidArgument: the hasher computes several digests; use `digests`.
        """
        first, *others = self.digests()
        if others:
            raise InvalidArgument("the hasher computes several digests: use digests()")
        return first

    def digests(self) -> tuple[Digest, ...]:
        """Return the digests of the bytes hashed so far, in the order of `algorithms`; more may follow."""
        return tuple(map(Digest, self.algorithms, self._native.encoded()))

    def copy(self) -> Hasher:
        """Return an independent hasher with the same bytes."""
        return self._wrap(self._native.copy())

    def state(self) -> bytes:
        """Return the state for `from_state`, also in another process; at most 2600 bytes per algorithm.

        The state is bound to the algorithms and the offset. A checksum detects damage, but not manipulation: a program that
        can write a state can choose the resulting digest.

        SHA-256, SHA-384 and SHA-512 have a state at any offset. The state of BLAKE3 consists of the hashes of whole 1 MiB
        subtrees of its input, so it exists at offset 0 and at multiples of 1 MiB from 2 MiB on.

        Raises:
            FailedPrecondition: one of the algorithms is BLAKE3, which has no state at this offset.
        """
        return self._native.state()

    @classmethod
    def from_state(cls, state: Buffer) -> Hasher:
        """Return a hasher with a saved state; its `offset` and `algorithms` come from the state.

        Raises:
            InvalidArgument: `state` is damaged, or of another version.
        """
        return cls._wrap(_NativeHasher.from_state(state))

    @classmethod
    def _wrap(cls, native: _NativeHasher) -> Hasher:
        hasher = cls.__new__(cls)
        hasher._native = native  # noqa: SLF001  # one of our own
        return hasher

    def __repr__(self) -> str:
        return f"<Hasher {', '.join(self._native.algorithms)} at {self.offset}>"


@runtime_checkable
class _Readable(Protocol):
    def read(self, size: int, /) -> bytes | None: ...


async def digest_of(
    source: Source, *, algorithm: Algorithm | str = DEFAULT_ALGORITHM, on_progress: OnProgress | None = None
) -> Digest:
    """Return the digest of all bytes of `source`, without storing them.

    >>> import anyio
    >>> str(anyio.run(digest_of, b"abc"))
    'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'

    Args:
        source: see `Source`. An open file stays open, at its end.
        algorithm: the algorithm.
        on_progress: called with `Progress` of phase ``hash``, after each chunk and at the end.

    Raises:
        UnsupportedAlgorithm, InvalidDigest: `algorithm` is not the name of an algorithm.
        TypeError: `source` is not a `Source`.
        BufferError: a buffer that is not one-dimensional and contiguous with one-byte items.
        Any error of the source.

    Cancellation:
        No effect, except that the source may be partly read.

    Cost:
        Less than 64 KiB in memory are hashed in the event loop's thread; more bytes are hashed on threads, in chunks of at most
        8 MiB. A file on disk takes one thread hop; a second thread reads ahead while a processor is free.
    """
    digesting = _Digesting(source, Hasher(algorithm), on_progress)
    await checkpoint()
    if isinstance(source, str | os.PathLike):
        await digesting.path(source)
    elif (view := _view(source)) is not None:
        with view:
            digesting.total = view.nbytes
            await digesting.buffer(view)
    elif isinstance(source, FileRange):
        await digesting.range(source)
    elif isinstance(source, _Readable):
        await digesting.file(source)
    elif isinstance(source, AsyncIterable):
        async for item in source:
            await digesting.buffer(item)
    elif isinstance(source, Iterable):
        for item in source:
            await digesting.buffer(item)
    else:
        raise TypeError(
            f"expected a buffer, a path, a binary file or an iterable of buffers, not {type(source).__name__}"
        )
    return digesting.finish()


class _Digesting:
    """The state of one `digest_of`: its hasher and its progress."""

    def __init__(self, source: Source, hasher: Hasher, on_progress: OnProgress | None) -> None:
        self.hasher = hasher
        self.on_progress = on_progress
        self.name = name_of(source)
        self.total: int | None = None
        self.reported = -1
        self.inline = 0

    async def buffer(self, data: Buffer) -> None:
        """Hash one buffer: a small buffer in this thread, a large one chunk by chunk on other threads."""
        with memoryview(data) as view:
            plain = view.ndim == 1 and view.itemsize == 1
            if view.nbytes < _INLINE or not plain:  # `update` refuses other buffers
                self.hasher.update(view)
                await self.breathe(view.nbytes)
                return
            for piece in slices(view, calls.CALL_BYTES):
                with piece:
                    await calls.run(self.hasher.update, piece)
                self.report()

    async def breathe(self, size: int) -> None:
        """Checkpoint after enough small buffers were hashed here."""
        self.inline += size
        if self.inline >= _INLINE:
            self.inline = 0
            self.report()
            await checkpoint()

    async def path(self, path: str | os.PathLike[str]) -> None:
        """Hash the file at a path."""
        file = await calls.run(partial(io.FileIO, path, opener=at_once))
        try:
            await self.file(file)
        finally:
            file.close()

    async def file(self, file: _Readable) -> None:
        """Hash an open file from its position to its end: a regular file in one hop, any other chunk by chunk."""
        self.total = await calls.run(_remaining, file)
        if self.total is not None:
            await self.in_one_hop(partial(self.read_plain, file))
        # Another kind of object may hold bytes that it has read ahead; a file that does not block is refused.
        is_plain = self.total is None and type(file) is io.FileIO and os.get_blocking(file.fileno())
        waits = is_plain and await readable(file)
        while await calls.run(self.read_piece, file):
            self.report()
            waits = waits and await readable(file)

    async def range(self, source: FileRange) -> None:
        """Hash a part of a file."""
        self.total = source.size
        native = self.hasher._native  # noqa: SLF001  # one of our own
        done = await self.in_one_hop(lambda job: native.update_from(source.file, source.offset, source.size, job))
        if done < source.size:
            raise OutOfRange("file range", offset=source.offset + source.size, size=source.offset + done)

    async def in_one_hop(self, call: Callable[[Job], int]) -> int:
        """Make a call on a thread and report its progress. Return the number of bytes that it has hashed."""
        job = Job()
        done = await watched(job, None if self.on_progress is None else partial(self.report, job), call, job)
        if job.cancelled:
            await checkpoint()  # it raises the cancellation
        return done

    def read_plain(self, file: _Readable, job: Job) -> int:
        """Read and hash the rest of the file, on a thread; its position is then at the end. Return the bytes."""
        plain = cast("io.FileIO", file)
        start = plain.tell()
        plain.seek(start)  # a file that is also written flushes its buffer
        done = self.hasher._native.update_from(plain.fileno(), start, None, job)  # noqa: SLF001  # one of our own
        plain.seek(start + done)
        return done

    def read_piece(self, file: _Readable) -> bool:
        """Read and hash a chunk, on a thread; return whether there may be more.

        A pipe, for example, may deliver few bytes and then none for a long time. Its chunk ends with the first short read, so that a
        cancelled caller does not wait for more bytes.
        """
        readinto = getattr(file, "readinto", None)
        done = 0
        with memoryview(bytearray(_READ)) as buffer:
            while done < calls.CALL_BYTES:
                data = None if readinto else file.read(_READ)
                size = readinto(buffer) if readinto else None if data is None else len(data)
                if size is None:
                    raise InvalidArgument("a file in non-blocking mode cannot be hashed")
                if size == 0:
                    return False
                self.hasher.update(buffer[:size] if data is None else data)
                done += size
                if size < _READ and self.total is None:
                    return True
        return True

    def report(self, job: Job | None = None) -> None:
        """Report progress, unless nothing was hashed since the last report."""
        # While a job runs, its thread uses the hasher.
        done = self.hasher.offset if job is None else job.done
        if self.on_progress is not None and self.reported != done:
            self.reported = done
            self.on_progress(Progress(phase="hash", name=self.name, done=self.reported, total=self.total))

    def finish(self) -> Digest:
        self.report()
        return self.hasher.digest()


def _remaining(file: _Readable) -> int | None:
    """Return the bytes from a file's position to its end, or None if it is not a plain regular file."""
    if not isinstance(file, io.FileIO | io.BufferedReader | io.BufferedRandom):
        return None
    raw = file if isinstance(file, io.FileIO) else file.raw
    # A buffered reader may wrap any object, for example a decompressor; its descriptor gives another size.
    if not isinstance(raw, io.FileIO):
        return None
    status = os.fstat(raw.fileno())
    return max(0, status.st_size - file.tell()) if stat.S_ISREG(status.st_mode) else None


def _view(source: object) -> memoryview | None:
    try:
        return memoryview(source)  # type: ignore[arg-type]  # only the call can find out
    except TypeError:
        return None
