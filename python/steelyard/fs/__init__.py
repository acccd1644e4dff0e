"""The image names, trees and blobs of a store as files, for programs that use fsspec. Needs the extra ``fsspec``.

`SteelyardFileSystem` is registered for the protocol ``steelyard``: ``fsspec.open("steelyard://NAME/path/in/tree")``.
"""

from __future__ import annotations

try:
    from fsspec import register_implementation as _register
except ImportError as _error:
    raise ImportError("steelyard.fs needs fsspec: pip install 'steelyard[fsspec]'") from _error

from steelyard.fs._file import SteelyardAsyncFile as SteelyardAsyncFile  # after the check for fsspec
from steelyard.fs._file import SteelyardFile as SteelyardFile
from steelyard.fs._filesystem import SteelyardFileSystem as SteelyardFileSystem

# Programs that look into fsspec's registry, such as universal_pathlib, do not see entry points.
_register(SteelyardFileSystem.protocol, SteelyardFileSystem, clobber=True)

__all__ = ("SteelyardAsyncFile", "SteelyardFile", "SteelyardFileSystem")
