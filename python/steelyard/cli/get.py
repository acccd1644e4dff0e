"""`get`: write a blob to a file or to standard output."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from steelyard._runtime.calls import OpenFile, run, run_always
from steelyard.cli import stdio
from steelyard.cli.complete import complete_digest
from steelyard.cli.context import Context
from steelyard.cli.explain import UsageError
from steelyard.cli.meter import Meter
from steelyard.cli.names import resolve_one
from steelyard.cli.parameters import Parameter
from steelyard.cli.printing import path_hex, path_shown, path_text
from steelyard.cli.records import FetchedRecord
from steelyard.content import ReaderAt
from steelyard.digest import Digest
from steelyard.errors import OutOfRange
from steelyard.model import Progress

_CHUNK = 4 << 20


async def get(
    digest: Annotated[str, Parameter(name="DIGEST", completer=complete_digest)],
    /,
    *,
    output: Annotated[str | None, Parameter(name=["--output", "-o"])] = None,
    byte_range: Annotated[str | None, Parameter(name="--range")] = None,
    force: bool = False,
    context: Annotated[Context, Parameter(parse=False)],
) -> None:
    """Write a blob to a file or to standard output.

    The blob is verified while it is read. A file gets its name only after the whole blob is verified. On standard output,
    only exit code 0 proves that the bytes are right. A range is not verified, because a digest cannot prove a part of a blob.

    Args:
        digest: a digest, or at least 8 hex digits of one.
        output: the file to write, replaced if it exists; - is standard output, the default.
        byte_range: A-B, both included and counted from 0, or A- to the end, or -N for the last N bytes; unverified.
        force: write a blob's bytes even to a terminal.
        context: the run.
    """
    wanted = None if byte_range is None else parse_range(byte_range)
    target = None if output in {None, "-"} else output
    if target is None:
        next_step = f"{context.program} get {digest} -o FILE"
        stdio.refuse_terminal(force=force, next_step=next_step)
    async with context.open_store() as store:
        name = await resolve_one(store, digest)
        async with store.reader_at(name) as reader:
            start, size = (0, reader.size) if wanted is None else wanted_bytes(wanted, name, reader.size)
            if target is not None or not stdio.is_terminal(stdio.STDOUT):  # a terminal shows the bytes themselves
                context.display.begin(Meter(total=size))
            pieces = _pieces(context, reader, start, size, whole=wanted is None)
            if target is None:
                async for piece in pieces:
                    await stdio.write(piece)
                return
            await _to_file(pieces, Path(target))
        context.begin("fetched", "bytes")
        context.counts["bytes"] = size
        record = FetchedRecord(
            digest=str(name),
            path=path_text(target),
            path_hex=path_hex(target),
            offset=start,
            size=size,
            verified=wanted is None,
        )
        await context.out.emit(record, str(name) if context.quiet else f"{name}  {path_shown(target)}")


async def _pieces(context: Context, reader: ReaderAt, start: int, size: int, *, whole: bool) -> AsyncIterator[bytes]:
    report = context.display.follow(str(reader.digest)) or (lambda _: None)
    done = 0
    if whole:
        async with reader.stream() as stream:
            async for piece in stream:
                done += len(piece)
                report(Progress(phase="read", name=str(reader.digest), done=done, total=size))
                yield piece
        return
    while done < size:
        piece = await reader.read_at(start + done, min(_CHUNK, size - done))
        if not piece:
            return
        done += len(piece)
        report(Progress(phase="read", name=str(reader.digest), done=done, total=size))
        yield piece


async def _to_file(pieces: AsyncIterator[bytes], target: Path) -> None:
    """Write to a temporary file beside the target, and rename it to the target when it is complete."""
    path = await run(target.resolve)
    if await run(_is_special, path):
        special = await stdio.open_special(path)
        try:
            async for piece in pieces:
                await stdio.write(piece, special.fileno())
        finally:
            special.close()
        return
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
    file = await run(_open, temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        async for piece in pieces:
            await run(stdio.write_all, file.fileno(), piece)
        await run(_publish, file.fileno(), temporary, path)
    except BaseException:
        # CANCEL: the target does not change; the temporary file is removed.
        await run_always(lambda: temporary.unlink(missing_ok=True))
        raise
    finally:
        file.close()


def _is_special(path: Path) -> bool:
    """Return whether the target is a device or a named pipe, into which bytes are written directly."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a directory: expected the name of a file", str(path))
    return path.exists() and not path.is_file()


def _open(path: Path, flags: int) -> OpenFile:
    return OpenFile(os.open(path, flags | os.O_CLOEXEC, 0o666))


def _publish(descriptor: int, temporary: Path, path: Path) -> None:
    # DURABILITY: synced before it gets its name, so that a power cut leaves the old file or all of the new one.
    os.fsync(descriptor)
    temporary.replace(path)


def parse_range(text: str) -> tuple[int | None, int | None]:
    """Return the first and the last byte of ``A-B``, ``A-`` or ``-N``. For ``-N``, the first is None, and N stands in place of the last.

    Raises:
        UsageError: the text has none of the three forms.
    """
    match = re.fullmatch(r"(\d*)-(\d*)", text, re.ASCII)
    first, last = (int(part) if part else None for part in match.groups()) if match else (None, None)
    backwards = first is not None and last is not None and last < first
    if (first is None and last is None) or backwards:
        raise UsageError(f"--range {text!r}: expected A-B, A- or -N, A up to B", next_step="steelyard get --help")
    return first, last


def wanted_bytes(wanted: tuple[int | None, int | None], digest: Digest, size: int) -> tuple[int, int]:
    """Return the offset and the size of a parsed range in a blob of `size` bytes.

    Raises:
        OutOfRange: the range begins after the last byte.
    """
    first, last = wanted
    if first is None:
        count = min(last or 0, size)
        return size - count, count
    if first >= size:
        raise OutOfRange(f"blob {digest}", offset=first, size=size)
    return first, (size if last is None else min(last + 1, size)) - first
