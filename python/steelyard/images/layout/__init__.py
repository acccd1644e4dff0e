"""OCI image layouts in a directory, in a tar archive under construction, or in memory, all with the same methods.

Spec: OCI image specification, "Image Layout".
"""

from steelyard.images.layout._directory import DirectoryLayout as DirectoryLayout
from steelyard.images.layout._driver import BlobWriter as BlobWriter
from steelyard.images.layout._driver import LayoutDriver as LayoutDriver
from steelyard.images.layout._memory import MemoryLayout as MemoryLayout
from steelyard.images.layout._names import REF_NAME as REF_NAME
from steelyard.images.layout._tar import TarLayout as TarLayout

__all__ = ("REF_NAME", "BlobWriter", "DirectoryLayout", "LayoutDriver", "MemoryLayout", "TarLayout")
