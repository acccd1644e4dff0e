"""A durable, resumable, verified content store for async Python.

Start with `LocalStore`. This package exports the names that most programs use: the stores, the values that they take and return, the
functions that work on every store, and the errors that programs handle individually. Other names are in these modules:

| Module | Has |
| --- | --- |
| `steelyard.errors` | every error, as a tree |
| `steelyard.content` | the interfaces: `Provider`, `Ingester`, `Manager`, `IngestManager` |
| `steelyard.collection` | the values of garbage collection, and its repetition in a service |
| `steelyard.names` | the interface of image names |
| `steelyard.events` | the events of a store |
| `steelyard.hashing` | `Hasher`, a hash of bytes that arrive in pieces |
| `steelyard.model`, `steelyard.local` | values that few programs name, such as `Verified` and `StoreStats` |
| `steelyard.images`, `steelyard.containerd` | OCI images; a containerd as a store, and a store as a service for containerd |
| `steelyard.base`, `steelyard.testing` | for a store of your own: the base classes and the contract suite |
"""

from typing import TYPE_CHECKING

from steelyard._lazy import exports as _exports

if TYPE_CHECKING:
    from steelyard.content import ReaderAt as ReaderAt
    from steelyard.content import Store as Store
    from steelyard.content import Writer as Writer
    from steelyard.digest import Algorithm as Algorithm
    from steelyard.digest import Digest as Digest
    from steelyard.errors import AlreadyExists as AlreadyExists
    from steelyard.errors import DataCorrupt as DataCorrupt
    from steelyard.errors import FailedPrecondition as FailedPrecondition
    from steelyard.errors import InvalidArgument as InvalidArgument
    from steelyard.errors import NotFound as NotFound
    from steelyard.errors import SteelyardError as SteelyardError
    from steelyard.errors import StorageError as StorageError
    from steelyard.errors import StorageFull as StorageFull
    from steelyard.errors import Unavailable as Unavailable
    from steelyard.errors import UnexpectedDigest as UnexpectedDigest
    from steelyard.errors import UnexpectedSize as UnexpectedSize
    from steelyard.hashing import digest_of as digest_of
    from steelyard.local import LocalStore as LocalStore
    from steelyard.memory import MemoryStore as MemoryStore
    from steelyard.model import Descriptor as Descriptor
    from steelyard.model import FileRange as FileRange
    from steelyard.model import Image as Image
    from steelyard.model import Info as Info
    from steelyard.model import Labels as Labels
    from steelyard.model import Progress as Progress
    from steelyard.model import PutManyResult as PutManyResult
    from steelyard.model import PutResult as PutResult
    from steelyard.model import Status as Status
    from steelyard.transfer import copy as copy
    from steelyard.transfer import exists as exists
    from steelyard.transfer import open_writer as open_writer
    from steelyard.transfer import read_blob as read_blob
    from steelyard.transfer import write_blob as write_blob
else:
    __getattr__, __dir__ = _exports(
        __name__,
        {
            "steelyard.content": "ReaderAt Store Writer",
            "steelyard.digest": "Algorithm Digest",
            "steelyard.errors": (
                "AlreadyExists DataCorrupt FailedPrecondition InvalidArgument NotFound SteelyardError StorageError "
                "StorageFull Unavailable UnexpectedDigest UnexpectedSize"
            ),
            "steelyard.hashing": "digest_of",
            "steelyard.local": "LocalStore",
            "steelyard.memory": "MemoryStore",
            "steelyard.model": "Descriptor FileRange Image Info Labels Progress PutManyResult PutResult Status",
            "steelyard.transfer": "copy exists open_writer read_blob write_blob",
        },
        submodules=(
            "base collection content digest errors events filters hashing leases local memory model names options transfer"
        ),
    )

# Cargo.toml has the version; a test keeps this copy equal. Neither the extension module nor importlib.metadata is loaded for it.
__version__ = "0.1.0"

__all__ = (
    "Algorithm",
    "AlreadyExists",
    "DataCorrupt",
    "Descriptor",
    "Digest",
    "FailedPrecondition",
    "FileRange",
    "Image",
    "Info",
    "InvalidArgument",
    "Labels",
    "LocalStore",
    "MemoryStore",
    "NotFound",
    "Progress",
    "PutManyResult",
    "PutResult",
    "ReaderAt",
    "Status",
    "SteelyardError",
    "StorageError",
    "StorageFull",
    "Store",
    "Unavailable",
    "UnexpectedDigest",
    "UnexpectedSize",
    "Writer",
    "__version__",
    "copy",
    "digest_of",
    "exists",
    "open_writer",
    "read_blob",
    "write_blob",
)
