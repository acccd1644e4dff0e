"""Images: the documents of OCI and Docker, names, and what belongs to an image; built on `steelyard.content` alone."""

from steelyard.images.limits import DEFAULT_LIMITS as DEFAULT_LIMITS
from steelyard.images.limits import Limits as Limits
from steelyard.images.media_types import Kind as Kind
from steelyard.images.media_types import is_non_distributable as is_non_distributable
from steelyard.images.media_types import kind_of as kind_of
from steelyard.images.media_types import to_oci as to_oci

__all__ = (
    "DEFAULT_LIMITS",
    "Kind",
    "Limits",
    "is_non_distributable",
    "kind_of",
    "to_oci",
)
