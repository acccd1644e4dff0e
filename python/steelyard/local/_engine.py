"""The modules that `LocalStore` uses. They are loaded together with the first store, so that the class is quick to import."""

from pathlib import Path

from anyio.lowlevel import checkpoint

from steelyard._runtime.calls import run, run_always
from steelyard._runtime.refqueue import ref_queue, share_queue
from steelyard.content._put_many import UntilEnded
from steelyard.digest import Digest
from steelyard.errors import FailedPrecondition, SteelyardError, Unsupported
from steelyard.events import Events
from steelyard.leases import check_lease
from steelyard.local.blocking import BlockingStore, OpenOptions
from steelyard.local.leases import LocalLeases
from steelyard.local.many import delete_many, infos, sizes, update_many
from steelyard.local.names import LocalImageNames
from steelyard.local.put import Puts
from steelyard.local.put_many import put_many
from steelyard.local.ranges import read_ranges
from steelyard.local.reader import LocalReader, verified
from steelyard.local.verify import verify, verify_all
from steelyard.local.walk import walk
from steelyard.local.writer import LocalWriter
from steelyard.options import IngestOptions

__all__ = (
    "BlockingStore",
    "Digest",
    "Events",
    "FailedPrecondition",
    "IngestOptions",
    "LocalImageNames",
    "LocalLeases",
    "LocalReader",
    "LocalWriter",
    "OpenOptions",
    "Path",
    "Puts",
    "SteelyardError",
    "Unsupported",
    "UntilEnded",
    "check_lease",
    "checkpoint",
    "delete_many",
    "infos",
    "put_many",
    "read_ranges",
    "ref_queue",
    "run",
    "run_always",
    "share_queue",
    "sizes",
    "update_many",
    "verified",
    "verify",
    "verify_all",
    "walk",
)
