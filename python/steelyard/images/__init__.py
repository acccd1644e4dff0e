"""Images: documents of OCI and Docker, names, walks, imports and exports; they work on any `Store`."""

from steelyard.images.check import ImageCheck as ImageCheck
from steelyard.images.check import ImageUsage as ImageUsage
from steelyard.images.check import check as check
from steelyard.images.check import usage as usage
from steelyard.images.choose import Platforms as Platforms
from steelyard.images.convert import convert as convert
from steelyard.images.documents import Document as Document
from steelyard.images.documents import ImageConfig as ImageConfig
from steelyard.images.documents import ImageLayout as ImageLayout
from steelyard.images.documents import Index as Index
from steelyard.images.documents import Manifest as Manifest
from steelyard.images.documents import OCIDescriptor as OCIDescriptor
from steelyard.images.documents import RootFS as RootFS
from steelyard.images.documents import SavedImage as SavedImage
from steelyard.images.exporting import Exported as Exported
from steelyard.images.exporting import ExportedBlob as ExportedBlob
from steelyard.images.exporting import ExportedImage as ExportedImage
from steelyard.images.exporting import export_images as export_images
from steelyard.images.graph import children as children
from steelyard.images.graph import walk_image as walk_image
from steelyard.images.importing import ImagesOf as ImagesOf
from steelyard.images.importing import Imported as Imported
from steelyard.images.importing import ImportedBlob as ImportedBlob
from steelyard.images.importing import ImportedImage as ImportedImage
from steelyard.images.importing import Naming as Naming
from steelyard.images.importing import import_images as import_images
from steelyard.images.labels import content_labels as content_labels
from steelyard.images.labels import is_reserved as is_reserved
from steelyard.images.layout import REF_NAME as REF_NAME
from steelyard.images.layout import BlobWriter as BlobWriter
from steelyard.images.layout import DirectoryLayout as DirectoryLayout
from steelyard.images.layout import LayoutDriver as LayoutDriver
from steelyard.images.layout import MemoryLayout as MemoryLayout
from steelyard.images.layout import TarLayout as TarLayout
from steelyard.images.limits import DEFAULT_LIMITS as DEFAULT_LIMITS
from steelyard.images.limits import Limits as Limits
from steelyard.images.media_types import Kind as Kind
from steelyard.images.media_types import is_non_distributable as is_non_distributable
from steelyard.images.media_types import kind_of as kind_of
from steelyard.images.media_types import to_oci as to_oci
from steelyard.images.node import Node as Node
from steelyard.images.parse import parse_document as parse_document
from steelyard.images.parse import parse_index as parse_index
from steelyard.images.parse import parse_layout as parse_layout
from steelyard.images.parse import parse_saved_images as parse_saved_images
from steelyard.images.platforms import Platform as Platform
from steelyard.images.read import describe as describe
from steelyard.images.read import read_document as read_document
from steelyard.images.reference import DEFAULT_DOMAIN as DEFAULT_DOMAIN
from steelyard.images.reference import DEFAULT_TAG as DEFAULT_TAG
from steelyard.images.reference import ImageReference as ImageReference
from steelyard.images.reference import normalise as normalise
from steelyard.images.reference import parse_object as parse_object

__all__ = (
    "DEFAULT_DOMAIN",
    "DEFAULT_LIMITS",
    "DEFAULT_TAG",
    "REF_NAME",
    "BlobWriter",
    "DirectoryLayout",
    "Document",
    "Exported",
    "ExportedBlob",
    "ExportedImage",
    "ImageCheck",
    "ImageConfig",
    "ImageLayout",
    "ImageReference",
    "ImageUsage",
    "ImagesOf",
    "Imported",
    "ImportedBlob",
    "ImportedImage",
    "Index",
    "Kind",
    "LayoutDriver",
    "Limits",
    "Manifest",
    "MemoryLayout",
    "Naming",
    "Node",
    "OCIDescriptor",
    "Platform",
    "Platforms",
    "RootFS",
    "SavedImage",
    "TarLayout",
    "check",
    "children",
    "content_labels",
    "convert",
    "describe",
    "export_images",
    "import_images",
    "is_non_distributable",
    "is_reserved",
    "kind_of",
    "normalise",
    "parse_document",
    "parse_index",
    "parse_layout",
    "parse_object",
    "parse_saved_images",
    "read_document",
    "to_oci",
    "usage",
    "walk_image",
)
