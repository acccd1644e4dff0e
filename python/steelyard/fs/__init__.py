"""The image names, trees and blobs of a store as files, for programs that use fsspec; the extra ``fsspec``.

`SteelyardFileSystem` is registered for the protocol ``steelyard``: ``fsspec.open("steelyard://NAME/path/in/tree")``.
"""

from __future__ import annotations

try:
    import fsspec as _fsspec
except ImportError as _error:
    raise ImportError("steelyard.fs needs fsspec: pip install 'steelyard[fsspec]'") from _error
del _fsspec

from steelyard.fs._file import SteelyardAsyncFile as SteelyardAsyncFile  # noqa: E402  # after the message
from steelyard.fs._file import SteelyardFile as SteelyardFile  # noqa: E402
from steelyard.fs._filesystem import SteelyardFileSystem as SteelyardFileSystem  # noqa: E402

__all__ = ("SteelyardAsyncFile", "SteelyardFile", "SteelyardFileSystem")
