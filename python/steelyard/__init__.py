"""A durable, resumable, verified content store for async Python.

Start with `LocalStore`; the interfaces are in `steelyard.content`.
"""

from steelyard.content import Ingester as Ingester
from steelyard.content import IngestManager as IngestManager
from steelyard.content import Manager as Manager
from steelyard.content import OnProgress as OnProgress
from steelyard.content import Provider as Provider
from steelyard.content import ReaderAt as ReaderAt
from steelyard.content import Source as Source
from steelyard.content import Store as Store
from steelyard.content import Writer as Writer
from steelyard.digest import Algorithm as Algorithm
from steelyard.digest import Digest as Digest
from steelyard.errors import Aborted as Aborted
from steelyard.errors import AlreadyExists as AlreadyExists
from steelyard.errors import DataCorrupt as DataCorrupt
from steelyard.errors import FailedPrecondition as FailedPrecondition
from steelyard.errors import IncompatibleFormat as IncompatibleFormat
from steelyard.errors import IncompleteImage as IncompleteImage
from steelyard.errors import InvalidArchive as InvalidArchive
from steelyard.errors import InvalidArgument as InvalidArgument
from steelyard.errors import InvalidDigest as InvalidDigest
from steelyard.errors import InvalidDigestLength as InvalidDigestLength
from steelyard.errors import InvalidDocument as InvalidDocument
from steelyard.errors import InvalidFilter as InvalidFilter
from steelyard.errors import InvalidImage as InvalidImage
from steelyard.errors import InvalidLabel as InvalidLabel
from steelyard.errors import InvalidReference as InvalidReference
from steelyard.errors import LimitExceeded as LimitExceeded
from steelyard.errors import NameMoved as NameMoved
from steelyard.errors import NotFound as NotFound
from steelyard.errors import OutOfRange as OutOfRange
from steelyard.errors import SteelyardError as SteelyardError
from steelyard.errors import StorageError as StorageError
from steelyard.errors import StorageFull as StorageFull
from steelyard.errors import Unavailable as Unavailable
from steelyard.errors import UnexpectedDigest as UnexpectedDigest
from steelyard.errors import UnexpectedSize as UnexpectedSize
from steelyard.errors import Unreachable as Unreachable
from steelyard.errors import Unsupported as Unsupported
from steelyard.errors import UnsupportedAlgorithm as UnsupportedAlgorithm
from steelyard.errors import WriterClosed as WriterClosed
from steelyard.hashing import Hasher as Hasher
from steelyard.hashing import digest_of as digest_of
from steelyard.local import LocalStore as LocalStore
from steelyard.local import StoreStats as StoreStats
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
from steelyard.model import Verified as Verified
from steelyard.names import ImageNames as ImageNames
from steelyard.transfer import copy as copy
from steelyard.transfer import exists as exists
from steelyard.transfer import open_writer as open_writer
from steelyard.transfer import read_blob as read_blob
from steelyard.transfer import write_blob as write_blob

__all__ = (
    "Aborted",
    "Algorithm",
    "AlreadyExists",
    "DataCorrupt",
    "Descriptor",
    "Digest",
    "FailedPrecondition",
    "FileRange",
    "Hasher",
    "Image",
    "ImageNames",
    "IncompatibleFormat",
    "IncompleteImage",
    "Info",
    "IngestManager",
    "Ingester",
    "InvalidArchive",
    "InvalidArgument",
    "InvalidDigest",
    "InvalidDigestLength",
    "InvalidDocument",
    "InvalidFilter",
    "InvalidImage",
    "InvalidLabel",
    "InvalidReference",
    "Labels",
    "LimitExceeded",
    "LocalStore",
    "Manager",
    "MemoryStore",
    "NameMoved",
    "NotFound",
    "OnProgress",
    "OutOfRange",
    "Progress",
    "Provider",
    "PutManyResult",
    "PutResult",
    "ReaderAt",
    "Source",
    "Status",
    "SteelyardError",
    "StorageError",
    "StorageFull",
    "Store",
    "StoreStats",
    "Unavailable",
    "UnexpectedDigest",
    "UnexpectedSize",
    "Unreachable",
    "Unsupported",
    "UnsupportedAlgorithm",
    "Verified",
    "Writer",
    "WriterClosed",
    "copy",
    "digest_of",
    "exists",
    "open_writer",
    "read_blob",
    "write_blob",
)
