"""Import images into a store, from archives, streams, layouts and other stores."""

from steelyard.images.importing._account import BlobStatus as BlobStatus
from steelyard.images.importing._account import ImportedBlob as ImportedBlob
from steelyard.images.importing._naming import Naming as Naming
from steelyard.images.importing._open import ImportSource as ImportSource
from steelyard.images.importing._provider import ImagesOf as ImagesOf
from steelyard.images.importing._result import Imported as Imported
from steelyard.images.importing._result import ImportedImage as ImportedImage
from steelyard.images.importing._run import import_images as import_images

__all__ = (
    "BlobStatus",
    "ImagesOf",
    "ImportSource",
    "Imported",
    "ImportedBlob",
    "ImportedImage",
    "Naming",
    "import_images",
)
