"""What the service counts, for Prometheus."""

from __future__ import annotations

__all__ = ("Meters",)


class Meters:
    """Counts nothing: no metrics are wanted. `_prometheus.Prometheus` counts."""

    def begin(self, method: str) -> None:
        """A call has begun."""

    def end(self, method: str, code: str, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """A call has ended."""

    def ingests(self, change: int) -> None:
        """An ingest was opened or closed."""
