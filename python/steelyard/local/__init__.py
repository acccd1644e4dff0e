"""The durable store on a local file system."""

from steelyard._native import sqlite_version as sqlite_version
from steelyard.local.blocking import StoreStats as StoreStats
from steelyard.local.store import LocalStore as LocalStore

__all__ = ("LocalStore", "StoreStats", "sqlite_version")
