"""Archives for `steelyard.images`: tar, read strictly and laid out in advance, compression, and strict JSON.

Native code does the work. Nothing here knows images, and nothing is unpacked.
"""

from steelyard._archive._coding import HEAD as HEAD
from steelyard._archive._coding import Compressed as Compressed
from steelyard._archive._coding import Decompressed as Decompressed
from steelyard._archive._coding import Format as Format
from steelyard._archive._coding import format_of as format_of
from steelyard._archive._copying import copy_hashed as copy_hashed
from steelyard._archive._copying import copy_range as copy_range
from steelyard._archive._entry import Entry as Entry
from steelyard._archive._layout import END as END
from steelyard._archive._layout import Layout as Layout
from steelyard._archive._layout import Member as Member
from steelyard._archive._layout import Place as Place
from steelyard._archive._layout import layout as layout
from steelyard._archive._layout import padding as padding
from steelyard._archive._reading import TarIndex as TarIndex
from steelyard._archive._reading import TarStream as TarStream
from steelyard._native import needs_file_synced as needs_file_synced

__all__ = (
    "END",
    "HEAD",
    "Compressed",
    "Decompressed",
    "Entry",
    "Format",
    "Layout",
    "Member",
    "Place",
    "TarIndex",
    "TarStream",
    "copy_hashed",
    "copy_range",
    "format_of",
    "layout",
    "needs_file_synced",
    "padding",
)
