"""The durable store on a local file system."""

from steelyard.local.store import LocalStore as LocalStore
from steelyard.local.store import StoreStats as StoreStats

__all__ = ("LocalStore", "StoreStats")
