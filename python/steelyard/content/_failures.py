"""The errors of a call on many things. Only the first errors are kept."""

from __future__ import annotations

__all__ = ("Failures",)

_MOST = 100
"""The most errors that are kept: memory must not grow with the number of failures."""


class Failures:
    """The failures of one call.

    Attributes:
        count: how many things failed.
    """

    def __init__(self) -> None:
        self.count = 0
        self._errors: list[Exception] = []

    def add(self, error: Exception, note: str) -> None:
        """Count a failure. Keep one of the first errors, with a note that says what failed. An error of several things is kept once."""
        self.count += 1
        if len(self._errors) < _MOST and not (self._errors and self._errors[-1] is error):
            error.add_note(note)
            self._errors.append(error)

    def group(self, message: str, *more: Exception) -> ExceptionGroup[Exception]:
        """Return the kept errors as a group, followed by the errors `more`."""
        left_out = f"; the first {_MOST} errors follow" if self.count > _MOST else ""
        return ExceptionGroup(f"{message}{left_out}", [*self._errors, *more])
