"""containerd's content service, on both sides of the wire.

`steelyard.containerd.service` serves a store to containerd. `RemoteStore` is a store behind such a service: that of a containerd, or
Steelyard's own.
"""

from __future__ import annotations

from steelyard.containerd.remote import RemoteStore as RemoteStore

__all__ = ("RemoteStore",)
