"""The base classes from fsspec. fsspec has no type hints, so this module declares the methods that programs call, for type checkers.

`SteelyardFileSystem` is an `fsspec.AbstractFileSystem`, and its files inherit fsspec's classes. Type checkers do not see that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from typing import Self

    class FileSystemType(type):
        """Creates instances, and caches them."""

    class AsyncFileSystem:
        """See `fsspec.asyn.AsyncFileSystem`."""

        asynchronous: bool
        storage_options: dict[str, Any]
        transaction_type: type[Transaction]
        cat: Callable[..., Any]
        cat_file: Callable[..., bytes]
        cat_ranges: Callable[..., list[Any]]
        copy: Callable[..., None]
        cp: Callable[..., None]
        cp_file: Callable[..., None]
        du: Callable[..., Any]
        exists: Callable[..., bool]
        find: Callable[..., Any]
        get: Callable[..., Any]
        get_file: Callable[..., None]
        glob: Callable[..., Any]
        head: Callable[..., bytes]
        info: Callable[..., dict[str, Any]]
        isdir: Callable[..., bool]
        isfile: Callable[..., bool]
        ls: Callable[..., list[Any]]
        open: Callable[..., Any]
        pipe: Callable[..., Any]
        pipe_file: Callable[..., Any]
        put: Callable[..., Any]
        put_file: Callable[..., Any]
        read_bytes: Callable[..., bytes]
        read_text: Callable[..., str]
        rm: Callable[..., None]
        rm_file: Callable[..., None]
        size: Callable[..., int | None]
        touch: Callable[..., None]
        transaction: Any
        walk: Callable[..., Iterator[tuple[str, Any, Any]]]
        write_bytes: Callable[..., None]
        write_text: Callable[..., int]

        _loop: Any

        @property
        def loop(self) -> Any:
            """The event loop of blocking calls."""
            ...

        @classmethod
        def clear_instance_cache(cls) -> None:
            """Forget the cached instances."""
            ...

        def __init__(self, **options: Any) -> None: ...
        @classmethod
        def _strip_protocol(cls, path: Any) -> Any: ...
        async def _copy(self, path1: Any, path2: Any, recursive: bool = False, **options: Any) -> None: ...
        async def _expand_path(self, path: Any, **options: Any) -> list[str]: ...
        async def _find(
            self, path: str, maxdepth: int | None = None, withdirs: bool = False, **options: Any
        ) -> Any: ...
        async def _glob(self, path: str, **options: Any) -> Any: ...
        async def _isdir(self, path: str) -> bool: ...
        async def _put(self, lpath: Any, rpath: Any, recursive: bool = False, **options: Any) -> Any: ...
        async def _rm(
            self,
            path: Any,
            recursive: bool = False,
            batch_size: int | None = None,
            maxdepth: int | None = None,
            **options: Any,
        ) -> None: ...
        def ukey(self, path: str) -> str:
            """Return a text that changes with the file."""
            ...

    class Transaction:
        """See `fsspec.transaction.Transaction`."""

        fs: Any
        files: Any

        def complete(self, commit: bool = True) -> None:
            """End the transaction."""
            ...

    class BlockingFile(io.IOBase):
        """See `fsspec.spec.AbstractBufferedFile`."""

        _closed: bool
        autocommit: bool
        blocksize: int
        buffer: io.BytesIO
        fs: Any
        loc: int
        path: str
        size: int
        read: Callable[..., bytes]
        readinto: Callable[..., int]
        write: Callable[..., int]

        def __init__(self, fs: Any, path: str, mode: str, **options: Any) -> None: ...
        def __enter__(self) -> Self: ...

    class AsyncFile:
        """See `fsspec.asyn.AbstractAsyncStreamedFile`."""

        _closed: bool
        buffer: io.BytesIO
        closed: bool
        fs: Any
        path: str
        size: int

        def __init__(self, fs: Any, path: str, mode: str, **options: Any) -> None: ...
        async def __aenter__(self) -> Self: ...

        async def read(self, length: int = -1) -> bytes:
            """Return the next bytes; with a negative length, all remaining bytes."""
            ...

        async def write(self, data: bytes) -> int:
            """Append bytes."""
            ...

        async def close(self) -> None:
            """Close the file."""
            ...

else:
    from fsspec.asyn import AbstractAsyncStreamedFile as AsyncFile
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractBufferedFile as BlockingFile
    from fsspec.transaction import Transaction

    FileSystemType = type(AsyncFileSystem)

__all__ = ("AsyncFile", "AsyncFileSystem", "BlockingFile", "FileSystemType", "Transaction")
