"""Questions on the terminal."""

from __future__ import annotations

import sys
from contextlib import aclosing

from steelyard.cli import stdio
from steelyard.cli.context import Context
from steelyard.cli.printing import printable

__all__ = ("can_ask", "confirmed")


def can_ask() -> bool:
    """Return whether a person can read a question and answer it."""
    return stdio.is_terminal(stdio.STDIN) and stdio.is_terminal(stdio.STDERR)


async def confirmed(context: Context, question: str) -> bool:
    """Ask a question on the terminal, and return whether the answer is yes. Any other answer, and no answer, counts as no."""
    answer = bytearray()
    with context.display.paused():
        sys.stderr.write(f"steelyard: {printable(question)} [y/N] ")
        sys.stderr.flush()
        async with aclosing(stdio.chunks()) as chunks:
            async for data in chunks:
                answer += data
                if b"\n" in answer:
                    break
        if b"\n" not in answer:
            sys.stderr.write("\n")
    return bytes(answer.partition(b"\n")[0]).strip().lower() in {b"y", b"yes"}
