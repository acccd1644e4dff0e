"""All errors of Steelyard: one base class, and a branch for each reaction of the caller.

```
SteelyardError
├── NotFound (LookupError)            the object does not exist: create it, or go on without it
├── AlreadyExists                     the blob is stored, or the image name exists: use it
├── LeaseExists                       the ID of the lease is in use: choose another
├── Unavailable                       another writer holds the ref: wait or choose another ref
├── CollectionBusy                    another collection is running: leave it to that one, or wait
├── Unreachable                       a server does not answer, or its answers break off: try again later
├── ServerRefused                     a server refuses: its code and the next step are in the message
├── InvalidResponse                   a server's response contradicts the request or itself: do not trust the server
├── FailedPrecondition                the state does not permit the call: change it first
│   ├── UnexpectedDigest              the bytes have another digest; the ingest keeps them
│   ├── UnexpectedSize                the bytes are more or fewer than expected; the ingest keeps them
│   ├── WriterClosed                  the writer is closed (anyio.ClosedResourceError)
│   ├── IncompatibleFormat            the root has another format than this release knows
│   ├── LeaseEnded                    the lease was deleted or has expired: repeat the work under a new one
│   ├── CollectionRefused             the store cannot know which blobs are needed: nothing was removed
│   ├── NameMoved                     the image name holds another digest
│   └── IncompleteImage               blobs that the image needs are not stored
├── Unsupported                       this store cannot do that: use another way
├── Aborted                           the ingest was discarded under its writer: start again
├── InvalidArgument (ValueError)      the call itself is wrong: fix the caller
│   ├── InvalidDigest                 does not have the form algorithm:encoded
│   │   ├── InvalidDigestLength       well-formed, but too long or too short for its algorithm
│   │   └── UnsupportedAlgorithm      well-formed, but not an algorithm of this store
│   ├── InvalidFilter                 a filter does not parse; has the position of the error
│   ├── InvalidLabel                  the key is empty, or key and value together exceed 4096 bytes
│   ├── InvalidReference              not the name of an image
│   └── InvalidImage                  an image from outside does not conform to its format: do not trust its source
│       ├── InvalidDocument           a manifest, index or config; has the place in the document
│       ├── InvalidArchive            an archive; has the name of the entry
│       └── LimitExceeded             a limit of the call is exceeded
├── OutOfRange                        an offset past the end
├── DataCorrupt                       stored bytes do not match their name: verify, repair
└── StorageError (OSError)            a system call failed; has errno and path
    └── StorageFull                   no space or quota left: free some; reads and deletes still work
```

`steelyard` itself exports the errors that programs usually handle. Most others only need a message for a person.
The native core reports a kind and fields, and one function maps them to these classes. Errors can be pickled and copied.

**Attributes.** The message is made from the arguments, and each argument is an attribute of the same name. `AlreadyExists`,
`UnexpectedDigest`, `NameMoved` and `IncompleteImage` carry `Digest` values. `NotFound`, `OutOfRange` and `DataCorrupt` may concern an object
that is not a blob. Their `name` is text, and their `digest` is a `Digest`, or None if `name` is not a digest of a blob.

**Raise them in a store of your own.** All constructors have the same form: the first argument names the object that the error concerns, and
all others are keyword-only. A digest is a `Digest` or its text. `SteelyardError`, `FailedPrecondition`, `InvalidArgument` and `InvalidImage`
take only a message.

| In | If | Raise |
| --- | --- | --- |
| `reader_at`, `info`, `update`, `delete` | the blob is not stored | ``NotFound(digest)`` |
| `reader_at` | the descriptor has another size | ``DataCorrupt(digest, expected="4 bytes", actual="5 bytes")`` |
| `status`, `abort` | there is no such ingest | ``NotFound(ref, kind="ingest")`` |
| `writer` | another writer holds the ref | ``Unavailable(ref, holder="this process", since=since, local=True)`` |
| `writer`, `commit` | the blob is stored; the ingest is dropped | ``AlreadyExists(digest)`` |
| a method of a writer | the writer is closed or committed | ``WriterClosed(ref)`` |
| a method of a writer | the ingest was aborted | ``Aborted(ref)`` |
| `commit` | the ingest has another size or digest | ``UnexpectedSize(ref, expected=4, actual=5)``, ``UnexpectedDigest(ref, expected=digest, actual=other)`` |
| `commit`, a verified read | stored bytes are damaged | ``DataCorrupt(digest, expected=digest, actual=other)`` |
| `read_at`, `truncate` | the offset is past the end | ``OutOfRange(digest, offset=5, size=4)``, ``OutOfRange(ref, offset=5, size=4)`` |
| any | a number is negative, the ref is empty | ``InvalidArgument("size -1: expected 0 or more")`` |
| any | the store is closed | ``FailedPrecondition("the store is closed")`` |
| any | the store does not support the operation | ``Unsupported("my store", operation="labels")`` |
| any | a server does not answer | ``Unreachable("https://somewhere", reason="connection refused")`` |
| any | a server refuses | ``ServerRefused("https://somewhere", server_code="AccessDenied", reason="not permitted")`` |
| any | the operating system refuses | ``StorageError.of(error, operation="write", path=path)`` |
| `images` | the name does not exist | ``NotFound(name, kind="image name")`` |
| `images` | the name exists, or holds another digest than the expected one | ``AlreadyExists(digest, name=name)``, ``NameMoved(name, expected=digest, actual=other)`` |
| `leases` | there is no such lease | ``NotFound(lease, kind="lease")`` |
| `leases` | the ID is in use | ``LeaseExists(lease)`` |
| a call that stores a blob under a lease | the lease has ended | ``LeaseEnded(lease, reason="deleted")`` |
| `collect` | another collection is running; the store cannot know which blobs are needed | ``CollectionBusy("process 4711")``, ``CollectionRefused(path, cause="roots", reason="…")`` |

`Unavailable` has a text that names the holder of the ref (`holder`), the time at which the holder took it (`since`, or None), and whether the
holder is a writer of the same store object (`local`). With ``local=True``, `steelyard.open_writer` waits until the store calls
`BaseStore._ref_released`. With ``local=False``, it tries again after a pause. Raise `Unavailable` only for a held ref, because `open_writer`
waits without a limit.
"""

from __future__ import annotations

from steelyard._digest_errors import InvalidArgument as InvalidArgument
from steelyard._digest_errors import InvalidDigest as InvalidDigest
from steelyard._digest_errors import InvalidDigestLength as InvalidDigestLength
from steelyard._digest_errors import SteelyardError as SteelyardError
from steelyard._digest_errors import UnsupportedAlgorithm as UnsupportedAlgorithm
from steelyard.errors._images import IncompleteImage as IncompleteImage
from steelyard.errors._images import InvalidArchive as InvalidArchive
from steelyard.errors._images import InvalidDocument as InvalidDocument
from steelyard.errors._images import InvalidImage as InvalidImage
from steelyard.errors._images import InvalidReference as InvalidReference
from steelyard.errors._images import LimitExceeded as LimitExceeded
from steelyard.errors._images import NameMoved as NameMoved
from steelyard.errors._remote import InvalidResponse as InvalidResponse
from steelyard.errors._remote import ServerRefused as ServerRefused
from steelyard.errors._remote import Unreachable as Unreachable
from steelyard.errors._remote import Unsupported as Unsupported
from steelyard.errors._store import Aborted as Aborted
from steelyard.errors._store import AlreadyExists as AlreadyExists
from steelyard.errors._store import CollectionBusy as CollectionBusy
from steelyard.errors._store import CollectionRefused as CollectionRefused
from steelyard.errors._store import DataCorrupt as DataCorrupt
from steelyard.errors._store import FailedPrecondition as FailedPrecondition
from steelyard.errors._store import IncompatibleFormat as IncompatibleFormat
from steelyard.errors._store import InvalidFilter as InvalidFilter
from steelyard.errors._store import InvalidLabel as InvalidLabel
from steelyard.errors._store import LeaseEnded as LeaseEnded
from steelyard.errors._store import LeaseExists as LeaseExists
from steelyard.errors._store import NotFound as NotFound
from steelyard.errors._store import OutOfRange as OutOfRange
from steelyard.errors._store import StorageError as StorageError
from steelyard.errors._store import StorageFull as StorageFull
from steelyard.errors._store import Unavailable as Unavailable
from steelyard.errors._store import UnexpectedDigest as UnexpectedDigest
from steelyard.errors._store import UnexpectedSize as UnexpectedSize
from steelyard.errors._store import WriterClosed as WriterClosed

__all__ = (
    "Aborted",
    "AlreadyExists",
    "CollectionBusy",
    "CollectionRefused",
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
    "InvalidResponse",
    "LeaseEnded",
    "LeaseExists",
    "LimitExceeded",
    "NameMoved",
    "NotFound",
    "OutOfRange",
    "ServerRefused",
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

# The files are an implementation detail: users and tracebacks see the classes under the name of the package.
for _name in __all__:
    globals()[_name].__module__ = __name__
del _name
