"""A store in memory: short and obvious, because every other store is measured against it."""

from steelyard.memory._leases import MemoryLeases
from steelyard.memory._names import MemoryImageNames
from steelyard.memory._store import MemoryStore

__all__ = ("MemoryImageNames", "MemoryLeases", "MemoryStore")
