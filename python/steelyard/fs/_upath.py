"""Paths for universal_pathlib, which finds this class by its entry point. No other module imports this one."""

from __future__ import annotations

from upath import UPath

__all__ = ("SteelyardPath",)


class SteelyardPath(UPath):
    """A path of a `SteelyardFileSystem`: ``UPath("steelyard://NAME/path/in/tree", store=…)``."""

    __slots__ = ()

    @property
    def path(self) -> str:
        """The path in the form that the file system uses; the root is empty."""
        path = super().path
        return "" if path == "." else path.strip("/")
