"""`ObjectStore`: a store on S3-compatible object storage. `docs/object-storage.md` describes its promises and the tested servers."""

from steelyard.objects._address import ObjectAddress as ObjectAddress
from steelyard.objects._probe import ServerCheck as ServerCheck
from steelyard.objects._store import ObjectStore as ObjectStore
from steelyard.objects._unfinished import UnfinishedUpload as UnfinishedUpload
from steelyard.objects._upkeep import QuarantinedObject as QuarantinedObject
from steelyard.objects._upkeep import Server as Server

__all__ = ("ObjectAddress", "ObjectStore", "QuarantinedObject", "Server", "ServerCheck", "UnfinishedUpload")
