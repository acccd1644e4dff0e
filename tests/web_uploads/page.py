"""The programs of the page docs/uploads.md."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ("FASTAPI", "PAGE", "STARLETTE", "blocks")

PAGE = (Path(__file__).parents[2] / "docs" / "uploads.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


FASTAPI, STARLETTE, GUARDED = blocks("python")
