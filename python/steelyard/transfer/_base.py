"""The functions that `steelyard.base` uses. It loads them at the first call, so that its classes are quick to import."""

from anyio.lowlevel import checkpoint

from steelyard._runtime.refqueue import ref_queue
from steelyard.collection import CollectDefaults
from steelyard.digest import Digest
from steelyard.errors import NotFound, Unsupported
from steelyard.leases import check_lease
from steelyard.transfer._blob import read_blob
from steelyard.transfer._change_many import delete_each, update_each
from steelyard.transfer._lease import leased
from steelyard.transfer._put import put_source
from steelyard.transfer._put_many import put_each
from steelyard.transfer._ranges import read_ranges

__all__ = (
    "CollectDefaults",
    "Digest",
    "NotFound",
    "Unsupported",
    "check_lease",
    "checkpoint",
    "delete_each",
    "leased",
    "put_each",
    "put_source",
    "read_blob",
    "read_ranges",
    "ref_queue",
    "update_each",
)
