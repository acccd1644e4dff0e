"""`ObjectStore`: a store on S3-compatible object storage. `docs/object-storage.md` says what it promises, and on which servers."""

from steelyard.objects._address import ObjectAddress as ObjectAddress
from steelyard.objects._store import ObjectStore as ObjectStore

__all__ = ("ObjectAddress", "ObjectStore")
