"""Functions on whole blobs. They use only the interfaces, so they work with every store, and between any two stores.

| Function | Does |
| --- | --- |
| `open_writer` | open a writer; wait in order while another writer holds the ref |
| `read_blob`, `write_blob` | read a whole blob, verified; write a whole blob, which may already be stored |
| `exists` | check whether a blob is stored |
| `copy` | copy a blob between stores, resume an earlier copy, verify both ends |
| `put`, `put_many` | `Store.put` and `Store.put_many` for stores without a faster way |

`steelyard.content.Source` lists the sources. Files are read on worker threads. Iterables are advanced in the event
loop's thread, so pass a blocking source as a file or an async iterable.
"""

from steelyard.transfer._blob import copy, exists, read_blob, write_blob
from steelyard.transfer._put import put
from steelyard.transfer._put_many import put_many
from steelyard.transfer._writer import open_writer

__all__ = ("copy", "exists", "open_writer", "put", "put_many", "read_blob", "write_blob")
