"""Moving whole blobs, built on the interfaces alone: it works with every store, and between any two.

| Function | Does |
| --- | --- |
| `open_writer` | opens a writer, waiting in order while another one holds the ref |
| `read_blob`, `write_blob` | a whole blob out, verified; a whole blob in, where being there already is success |
| `exists` | tells whether a blob is stored |
| `copy` | copies a blob between stores, goes on where an earlier copy stopped, verifies both ends |
| `put`, `put_many` | what `Store.put` and `Store.put_many` do, for stores that have nothing faster |

Sources are what `steelyard.content.Source` lists. Files are read on worker threads. Iterables are advanced in the event
loop's thread, so one that blocks should be given as a file or an async iterable.
"""

from steelyard.transfer._blob import copy, exists, read_blob, write_blob
from steelyard.transfer._put import put
from steelyard.transfer._put_many import put_many
from steelyard.transfer._writer import open_writer

__all__ = ("copy", "exists", "open_writer", "put", "put_many", "read_blob", "write_blob")
