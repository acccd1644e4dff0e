"""containerd's content service, on both sides of the wire. It needs the extra ``grpc``.

`steelyard.containerd.service` offers a store to containerd; `steelyard.containerd.remote` is a store that lives behind
such a service, in a containerd or in ourselves.
"""

from __future__ import annotations

__all__: tuple[str, ...] = ()
