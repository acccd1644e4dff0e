"""The blocking core of the local store: every check, conversion and error, as plain functions, without an event loop.

`BlockingStore` is an open store. Its calls block and release the GIL; any thread may make them. The async `LocalStore`
runs the same calls on threads and adds hops, cancellation and waiting for refs. The gRPC service and the command line
call them directly.

| Module | Holds |
| --- | --- |
| `_store` | `BlockingStore` and `OpenOptions` |
| `_blob` | an open blob |
| `_collect` | garbage collection, in steps |
| `_ingest` | an open ingest |
| `_interruptible` | calls in the main thread that a signal can interrupt |
| `_leases` | the leases |
| `_names` | the image names |
| `_put` | the steps of a put that run on a thread |
| `_verify` | verification of blobs: read again and compare with the digest |
| `_rows` | conversion of the native core's tuples to the values of `steelyard.model` |
"""

from typing import TYPE_CHECKING

from steelyard._lazy import exports as _exports
from steelyard.local._defaults import Durability as Durability
from steelyard.local.blocking._blob import BlockingBlob as BlockingBlob
from steelyard.local.blocking._ingest import BlockingIngest as BlockingIngest
from steelyard.local.blocking._interruptible import interruptible as interruptible
from steelyard.local.blocking._names import BlockingNames as BlockingNames
from steelyard.local.blocking._store import BlobPages as BlobPages
from steelyard.local.blocking._store import BlockingStore as BlockingStore
from steelyard.local.blocking._store import OpenOptions as OpenOptions
from steelyard.local.blocking._store import Quarantined as Quarantined
from steelyard.local.blocking._store import StoreStats as StoreStats

if TYPE_CHECKING:
    from steelyard.local.blocking._leases import BlockingLeases as BlockingLeases
else:
    __getattr__, __dir__ = _exports(__name__, {"steelyard.local.blocking._leases": "BlockingLeases"})

__all__ = (
    "BlobPages",
    "BlockingBlob",
    "BlockingIngest",
    "BlockingLeases",
    "BlockingNames",
    "BlockingStore",
    "Durability",
    "OpenOptions",
    "Quarantined",
    "StoreStats",
    "interruptible",
)
