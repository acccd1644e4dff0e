"""`RemoteStore`: the store of a containerd, or of a Steelyard behind containerd's service, as a store like any other.

| Module | Has |
| --- | --- |
| `_store` | the store |
| `_channel` | the connection to the server |
| `_messages` | the methods and their answers |
| `_calls` | calls with one request: deadlines and cancellation |
| `_stream`, `_writer`, `_put` | one Write stream, the writer on it, small blobs in one message |
| `_reader` | ranges and the verified stream |
| `_content` | all other calls of the content service |
| `_names`, `_leases` | image names, protection from the garbage collector |
| `_errors`, `_values`, `_filters` | conversion between the protocol's values and Steelyard's |
"""

from __future__ import annotations

from steelyard.containerd.remote._store import RemoteStore as RemoteStore

__all__ = ("RemoteStore",)
