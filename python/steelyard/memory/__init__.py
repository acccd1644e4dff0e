"""The store in memory. It is kept short and simple, because tests compare other stores with it."""

from steelyard.memory._leases import MemoryLeases
from steelyard.memory._names import MemoryImageNames
from steelyard.memory._store import MemoryStore

__all__ = ("MemoryImageNames", "MemoryLeases", "MemoryStore")
