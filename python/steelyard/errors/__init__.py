"""Every error the store raises: one base, one branch per next move of the caller.

```
SteelyardError
├── NotFound (LookupError)            nothing of that name: create it, or go on without
├── AlreadyExists                     the blob is stored, the name is taken: use it
├── Unavailable                       somebody else writes to the ref: wait or choose another ref
├── Unreachable                       the server of a remote store does not answer: try again later
├── FailedPrecondition                the state is not the one asked for: change it first
│   ├── UnexpectedDigest              the bytes are not the expected ones; the ingest keeps them
│   ├── UnexpectedSize                there are more or fewer bytes than expected; likewise
│   ├── WriterClosed                  the writer is closed (anyio.ClosedResourceError)
│   ├── IncompatibleFormat            the root has another format than this release knows
│   ├── NameMoved                     the image name holds something else by now
│   └── IncompleteImage               blobs that the image needs are not stored
├── Unsupported                       this store cannot do that: use another way
├── Aborted                           the ingest was discarded under its writer: start again
├── InvalidArgument (ValueError)      the call itself is wrong: fix the caller
│   ├── InvalidDigest                 not of the form algorithm:encoded
│   │   ├── InvalidDigestLength       well-formed, but too long or too short for its algorithm
│   │   └── UnsupportedAlgorithm      well-formed, but not an algorithm of this store
│   ├── InvalidFilter                 a filter that does not parse, with the position
│   ├── InvalidLabel                  an empty key, or key and value over 4096 bytes
│   ├── InvalidReference              not the name of an image
│   └── InvalidImage                  an image from outside is not as the formats have it: do not trust its maker
│       ├── InvalidDocument           a manifest, index or config, with the place in it
│       ├── InvalidArchive            an archive, with the entry
│       └── LimitExceeded             more than the caller's limits allow
├── OutOfRange                        an offset past the end
├── DataCorrupt                       stored bytes are not what their name says: verify, repair
└── StorageError (OSError)            the operating system refused; errno and path are kept
    └── StorageFull                   no space or quota left: free some; reads and deletes still work
```

The classes are defined in this package and nowhere else; the native core reports a kind and fields, and one function maps them.
Each instance pickles, and carries its facts as attributes; the message is made from them.
"""

from __future__ import annotations

from steelyard.errors._images import IncompleteImage as IncompleteImage
from steelyard.errors._images import InvalidArchive as InvalidArchive
from steelyard.errors._images import InvalidDocument as InvalidDocument
from steelyard.errors._images import InvalidImage as InvalidImage
from steelyard.errors._images import InvalidReference as InvalidReference
from steelyard.errors._images import LimitExceeded as LimitExceeded
from steelyard.errors._images import NameMoved as NameMoved
from steelyard.errors._remote import Unreachable as Unreachable
from steelyard.errors._remote import Unsupported as Unsupported
from steelyard.errors._store import Aborted as Aborted
from steelyard.errors._store import AlreadyExists as AlreadyExists
from steelyard.errors._store import DataCorrupt as DataCorrupt
from steelyard.errors._store import FailedPrecondition as FailedPrecondition
from steelyard.errors._store import IncompatibleFormat as IncompatibleFormat
from steelyard.errors._store import InvalidArgument as InvalidArgument
from steelyard.errors._store import InvalidDigest as InvalidDigest
from steelyard.errors._store import InvalidDigestLength as InvalidDigestLength
from steelyard.errors._store import InvalidFilter as InvalidFilter
from steelyard.errors._store import InvalidLabel as InvalidLabel
from steelyard.errors._store import NotFound as NotFound
from steelyard.errors._store import OutOfRange as OutOfRange
from steelyard.errors._store import SteelyardError as SteelyardError
from steelyard.errors._store import StorageError as StorageError
from steelyard.errors._store import StorageFull as StorageFull
from steelyard.errors._store import Unavailable as Unavailable
from steelyard.errors._store import UnexpectedDigest as UnexpectedDigest
from steelyard.errors._store import UnexpectedSize as UnexpectedSize
from steelyard.errors._store import UnsupportedAlgorithm as UnsupportedAlgorithm
from steelyard.errors._store import WriterClosed as WriterClosed

__all__ = (
    "Aborted",
    "AlreadyExists",
    "DataCorrupt",
    "FailedPrecondition",
    "IncompatibleFormat",
    "IncompleteImage",
    "InvalidArchive",
    "InvalidArgument",
    "InvalidDigest",
    "InvalidDigestLength",
    "InvalidDocument",
    "InvalidFilter",
    "InvalidImage",
    "InvalidLabel",
    "InvalidReference",
    "LimitExceeded",
    "NameMoved",
    "NotFound",
    "OutOfRange",
    "SteelyardError",
    "StorageError",
    "StorageFull",
    "Unavailable",
    "UnexpectedDigest",
    "UnexpectedSize",
    "Unreachable",
    "Unsupported",
    "UnsupportedAlgorithm",
    "WriterClosed",
)

# The files are how this package is made; users and tracebacks know the classes by its name.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
