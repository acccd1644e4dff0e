"""containerd's content service, on both sides of the wire.

`steelyard.containerd.service` offers a store to containerd; `RemoteStore` is a store that lives behind such a service, in
a containerd or in ourselves.
"""

from __future__ import annotations

from steelyard.containerd.remote import RemoteStore as RemoteStore

__all__ = ("RemoteStore",)
