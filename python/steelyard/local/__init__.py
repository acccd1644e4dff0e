"""The durable store on a local file system."""

from typing import TYPE_CHECKING

from steelyard._lazy import exports as _exports

if TYPE_CHECKING:
    from steelyard._native import sqlite_version as sqlite_version
    from steelyard.local.blocking import Quarantined as Quarantined
    from steelyard.local.blocking import StoreStats as StoreStats
    from steelyard.local.store import LocalStore as LocalStore
else:
    __getattr__, __dir__ = _exports(
        __name__,
        {
            "steelyard._native": "sqlite_version",
            "steelyard.local.blocking": "Quarantined StoreStats",
            "steelyard.local.store": "LocalStore",
        },
    )

__all__ = ("LocalStore", "Quarantined", "StoreStats", "sqlite_version")
