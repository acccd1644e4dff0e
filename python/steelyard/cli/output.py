"""Results on standard output: text, one JSON document, or JSON Lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Any

import anyio
import msgspec

from steelyard.cli import stdio
from steelyard.cli.records import ErrorRecord, encode, summary
from steelyard.cli.settings import Format

__all__ = ("Output",)

_FLUSH_BYTES = 32 << 10
_FLUSH_SECONDS = 0.05


class Output:
    """The results of one command.

    Records are written soon after they are added, so that memory does not grow with their number and a pipeline gets
    them as they are made. A JSON document is written piece by piece, and is complete after `finish`.

    Args:
        shape: the format.
        while_writing: entered while lines go to standard output, so that nothing else goes to the same terminal.
        has_loop: whether there is an event loop; otherwise no call suspends.

    Attributes:
        plural: the name of the list of records in the JSON document: ``blobs``, ``ingests``; empty if there is no list.
        patience: without an event loop, the seconds that a write waits for a reader that has stopped; None for ever.
    """

    def __init__(
        self,
        shape: Format,
        *,
        while_writing: Callable[[], AbstractContextManager[object]] = nullcontext,
        has_loop: bool = True,
    ) -> None:
        self.shape = shape
        self.plural = ""
        self.failures: list[ErrorRecord] = []
        self._while_writing = while_writing
        self._buffer = bytearray()
        self.patience: float | None = None
        self._has_loop = has_loop
        self._lock: AbstractAsyncContextManager[object] = anyio.Lock() if has_loop else nullcontext()
        self._flushed_at = 0.0
        self._count = 0
        self._complete = False
        self._failed: OSError | stdio.OutputClosed | None = None

    async def emit(self, record: msgspec.Struct, text: str) -> None:
        """Report one record.

        Args:
            record: its JSON.
            text: its line of text, without the newline; if it is empty, text output has no line.
        """
        if self.shape != "text":
            self.add(record)
        elif text:
            self.add_line(text)
        if self.is_due:
            await self.flush()

    def add(self, record: msgspec.Struct) -> None:
        """Add a record to the pending output, which is JSON. Flush it when `is_due` says so."""
        self._add(encode(record))

    def add_line(self, text: str) -> None:
        """Add a line to the pending output, which is text; as `add`."""
        self._buffer += text.encode(sys.stdout.encoding or "utf-8", "backslashreplace") + b"\n"

    @property
    def is_due(self) -> bool:
        """Whether the pending output should be written now: it is long, or the last write was some time ago."""
        pending = len(self._buffer)
        return pending >= _FLUSH_BYTES or (pending > 0 and time.monotonic() - self._flushed_at > _FLUSH_SECONDS)

    def fail(self, error: ErrorRecord) -> None:
        """Add a failure to the result; standard error reports it at once."""
        self.failures.append(error)
        if self.shape == "jsonl" and not self._complete:
            self._add(encode(error))

    async def finish(self, command: str, counts: dict[str, int]) -> None:
        """End the output with the command's summary."""
        result = encode(summary(command, failed=len(self.failures), counts=counts))
        if self.shape == "jsonl":
            self._add(result)
        elif self.shape == "json":
            start = b"" if self._count else b'{"%s":[' % self.plural.encode()
            self._buffer += start + b'],"errors":' + encode_list(self.failures) + b',"summary":' + result + b"}\n"
        await self.flush()

    async def finish_failed(self) -> None:
        """End the output of a command that failed before its first record."""
        if self.shape == "json" and not self._complete:
            self._buffer += b'{"errors":' + encode_list(self.failures) + b"}\n"
        await self.flush()

    async def document(self, record: msgspec.Struct | dict[str, Any], text: str) -> None:
        """Report the result of a command with a single record."""
        self._buffer += (
            text.encode(sys.stdout.encoding or "utf-8", "backslashreplace") if self.shape == "text" else encode(record)
        )
        self._buffer += b"\n"
        self._complete = True
        await self.flush()

    async def flush(self) -> None:
        """Write the pending lines.

        Raises:
            OutputClosed: the reader has closed them.
            OSError: the error of the operating system. Each later call raises the error of the first failed write, because
                the display's timer flushes, too, and lines that it lost are missing from the command's result.
        """
        async with self._lock:
            if self._failed is not None:
                raise self._failed
            if not self._buffer:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
            try:
                with self._while_writing():
                    if self._has_loop:
                        await stdio.write(data)
                    else:
                        stdio.write_here(data, seconds=self.patience)
            except (OSError, stdio.OutputClosed) as error:
                self._failed = error
                raise
            self._flushed_at = time.monotonic()

    def _add(self, line: bytes) -> None:
        if self.shape == "jsonl":
            self._buffer += line + b"\n"
        else:
            start = b"," if self._count else b'{"%s":[' % self.plural.encode()
            self._buffer += start + b"\n" + line
        self._count += 1


def encode_list(records: list[ErrorRecord]) -> bytes:
    """Return records as a JSON list."""
    return b"[" + b",".join(map(encode, records)) + b"]"
