"""`RemoteStore`: the store of a containerd, or of a Steelyard behind containerd's service, as a store like any other.

| Module | Has |
| --- | --- |
| `_store` | the store |
| `_address`, `_channel` | where the server is, and the connection to it |
| `_calls` | calls that wait on threads, with deadlines, and what a cancelled one leaves |
| `_stream`, `_writer`, `_put` | one Write stream, the writer on it, small blobs in one message |
| `_reader` | ranges and the verified stream |
| `_content` | all other calls of the content service |
| `_names`, `_leases` | image names, protection from the garbage collector |
| `_errors`, `_values`, `_filters`, `_wire` | between the protocol's values and ours |
"""

from __future__ import annotations

try:
    import grpc as _grpc  # noqa: F401  # asked for here, once, to say what to do where it is missing
except ImportError as _missing:  # pragma: no cover - where the tests run it is there
    raise ImportError("steelyard.containerd needs gRPC: pip install 'steelyard[grpc]'") from _missing

from steelyard.containerd.remote._store import RemoteStore as RemoteStore

__all__ = ("RemoteStore",)
