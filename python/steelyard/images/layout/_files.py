"""The system calls of a layout in a directory: links are not followed, and a file gets its name only when it is complete.

The functions block, and are called on worker threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from steelyard._archive import needs_file_synced
from steelyard._runtime.calls import OpenFile
from steelyard._runtime.fork import Process
from steelyard.digest import Algorithm, Digest
from steelyard.errors import DataCorrupt, InvalidDigest, NotFound, StorageError
from steelyard.images.layout._names import BLOBS
from steelyard.model import Buffer

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_UNNAMED = getattr(os, "O_TMPFILE", 0)
_PROVISIONAL = re.compile(r"\.steelyard-[0-9a-f]{16}")
_NO_UNNAMED = {errno.EISDIR, errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def storage_errors(path: str, operation: str) -> Iterator[None]:
    """Convert OSError to the package's error."""
    try:
        yield
    except OSError as error:
        raise StorageError.of(error, operation=operation, path=path) from error


def make_root(path: str) -> OpenFile:
    """Open the layout's directory; if it does not exist, make it. Its parent must exist."""
    with storage_errors(path, "open layout"):
        with closing_fd(os.open(Path(path).parent, _DIRECTORY)) as parent:
            _make_dir(parent, Path(path).name)
        root = OpenFile(os.open(path, _DIRECTORY))
    _sweep_layout(root.fileno(), path)
    return root


@contextmanager
def closing_fd(number: int) -> Iterator[int]:
    """Close a descriptor at the end."""
    try:
        yield number
    finally:
        os.close(number)


LINKS = "links are not followed, so copy the layout first, with `cp -RL`"
"""Advice on links in a layout."""


def open_dir(root: int, path: str, parts: tuple[str, ...], *, make: bool) -> int:
    """Open a directory below the root; no part of its path may be a link. With `make`, make missing ones, durably."""
    here = os.dup(root)
    try:
        for part in parts:
            with storage_errors(f"{path}/{'/'.join(parts)}", "open directory"):
                if make:
                    _make_dir(here, part)
                following = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = following
    except BaseException:
        os.close(here)
        raise
    return here


def _make_dir(parent: int, name: str) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        return
    # DURABILITY: after a power cut before this sync, the directory may be missing, but no blob in it was acknowledged.
    os.fsync(parent)


def open_file(directory: int, name: str, shown: str) -> int:
    """Open a regular file to read; anything else of that name, such as a link or a pipe, counts as damage.

    Raises:
        FileNotFoundError: there is no such file.
        DataCorrupt: it is not a regular file.
    """
    try:
        number = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise DataCorrupt(shown, expected="a regular file", actual=f"a link or a socket: {LINKS}") from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise DataCorrupt(shown, expected="a regular file", actual="something else")
    return number


def read_file(root: int, path: str, name: str, most: int) -> bytes:
    """Return at most `most` bytes of a file."""
    with storage_errors(f"{path}/{name}", "read"):
        try:
            number = open_file(root, name, f"{path}/{name}")
        except FileNotFoundError:
            raise NotFound(f"{path}/{name}", kind="file") from None
        with os.fdopen(number, "rb") as file:
            return file.read(most)


def replace_file(root: int, path: str, name: str, data: bytes) -> None:
    """Give the name to a new file of these bytes, atomically; on return it survives a power loss."""
    file = NewFile(root, f"{path}/{name}")
    try:
        file.write(data)
        file.publish(name, 0o644)
    finally:
        file.close()


class NewFile:
    """A file under construction. It has no name if the file system has unnamed files, so that a crash leaves nothing.

    Args:
        directory: its directory; the caller closes the descriptor, after the file.
        shown: its name in errors.
        mode: its permission bits until it is published, without those in the process's umask.
    """

    def __init__(self, directory: int, shown: str, *, mode: int = 0o600) -> None:
        self._directory = directory
        self._shown = shown
        self._mode = mode
        self._temporary: str | None = None
        self._process = Process()
        with storage_errors(shown, "create"):
            self._file = OpenFile(self._create())
        self._size = 0

    def _create(self) -> int:
        if _UNNAMED:
            try:
                return os.open(".", os.O_RDWR | _UNNAMED | os.O_CLOEXEC, self._mode, dir_fd=self._directory)
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        while True:
            self._temporary = fresh_name()
            number = os.open(self._temporary, flags, self._mode, dir_fd=self._directory)
            if _hold(number) and os.fstat(number).st_nlink:
                return number
            os.close(number)  # a sweep removed the name before this lock, or has the lock and will remove the name

    @property
    def number(self) -> int:
        """The descriptor of the file."""
        return self._file.fileno()

    def write(self, data: Buffer) -> None:
        """Append all of the bytes."""
        self.write_at(self._size, data)
        self._size += memoryview(data).nbytes

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of the bytes at an offset."""
        rest = memoryview(data).cast("B")
        with storage_errors(self._shown, "write"):
            while rest:
                count = os.pwrite(self.number, rest, offset)
                offset += count
                rest = rest[count:]

    def publish(self, name: str, mode: int | None = None) -> None:
        """Give the file its name, replacing any other file, and a mode; on return it survives a power loss."""
        with storage_errors(self._shown, "publish"):
            if mode is not None:
                os.fchmod(self.number, mode)
            # DURABILITY: synced before the file gets its name, so that a power cut never leaves a name for missing bytes.
            os.fsync(self.number)
            if self._temporary is None:
                self._temporary = fresh_name()
                _hold(self.number)
                os.link(f"/proc/self/fd/{self.number}", self._temporary, dst_dir_fd=self._directory)
            # DURABILITY: a power cut leaves the old file, no file, or the complete new file.
            os.replace(self._temporary, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._temporary = None
            if needs_file_synced(self._directory):
                # DURABILITY: its links and mode, which the directory's sync does not write here (rust/core/src/sys/promise.rs).
                os.fsync(self.number)
            os.fsync(self._directory)

    def publish_unsynced(self, name: str) -> None:
        """Give the file its name, replacing any other file or link. After a power cut it may be empty, or not there."""
        with storage_errors(self._shown, "publish"):
            if self._temporary is None:
                source = f"/proc/self/fd/{self.number}"
                try:
                    # DURABILITY: not synced; nothing is acknowledged by it.
                    os.link(source, name, dst_dir_fd=self._directory)
                    return
                except FileExistsError:
                    self._temporary = fresh_name()
                # DURABILITY: as above.
                os.link(source, self._temporary, dst_dir_fd=self._directory)
            # DURABILITY: not synced: a power cut may leave the old file, the new one, or an empty one.
            os.replace(self._temporary, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
            self._temporary = None

    def close(self) -> None:
        """Close the file, and discard it if it was not published. May be called twice."""
        if self.number < 0:
            return
        self._file.close()
        if self._temporary is not None and self._process.is_current:  # a fork's child must not remove it
            with suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._directory)


class NamedFile:
    """A file under construction. Its directory stays open meanwhile.

    Args:
        path: its path.
        shown: its name in errors.
        is_swept: whether files that killed processes left in the directory are removed.
    """

    def __init__(self, path: Path, shown: str, *, mode: int, is_swept: bool = False) -> None:
        self.is_closed = False
        self._name = path.name
        with storage_errors(shown, "create"):
            self._directory = OpenFile(os.open(path.parent, _DIRECTORY))
        try:
            if is_swept:
                sweep(self._directory.fileno())
            self.file = NewFile(self._directory.fileno(), shown, mode=mode)
        except BaseException:
            self._directory.close()
            raise

    def publish(self) -> None:
        """Give the file its name, durably, and close it."""
        self.file.publish(self._name)
        self.close()

    def publish_unsynced(self) -> None:
        """Give the file its name, and close it. After a power cut it may be empty, or not there."""
        self.file.publish_unsynced(self._name)
        self.close()

    def close(self) -> None:
        """Close the file, and discard it if it was not published. May be called twice."""
        self.is_closed = True
        self.file.close()
        self._directory.close()


def fresh_name() -> str:
    """Return a name for a file that is not complete."""
    return f".steelyard-{secrets.token_hex(8)}"


def _hold(number: int) -> bool:
    """Lock a file with a provisional name against sweeps while it is open; return False if a sweep has the lock."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # without locks there are no sweeps
    return True


def sweep(directory: int) -> None:
    """Remove files under construction that killed processes left in a directory; files in use are locked."""
    with suppress(OSError):
        for name in os.listdir(directory):
            if _PROVISIONAL.fullmatch(name):
                _remove_unused(directory, name)


def _sweep_layout(root: int, path: str) -> None:
    """Sweep the directory of a layout, and those of its blobs."""
    sweep(root)
    for algorithm in Algorithm:
        # A call that needs a directory raises its own error if the directory is absent or a link.
        with (
            suppress(StorageError),
            closing_fd(open_dir(root, path, (BLOBS, algorithm.value), make=False)) as directory,
        ):
            sweep(directory)


def _remove_unused(directory: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError), closing_fd(os.open(name, flags, dir_fd=directory)) as number:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=directory)


def open_again(root: int, path: str) -> OpenFile:
    """Open the layout's directory again, for a separate lock."""
    return OpenFile(open_dir(root, path, (".",), make=False))


def try_lock(root: OpenFile, path: str) -> bool:
    """Try to lock the layout by its directory; closing the directory unlocks it."""
    with storage_errors(path, "lock"):
        try:
            fcntl.flock(root.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def list_digests(root: int, path: str) -> list[Digest]:
    """Return the digests of all blobs, sorted; other files are ignored."""
    found = []
    for algorithm in Algorithm:
        try:
            directory = open_dir(root, path, (BLOBS, algorithm.value), make=False)
        except StorageError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        with closing_fd(directory), storage_errors(f"{path}/blobs", "list"):
            for entry in os.scandir(directory):
                with suppress(InvalidDigest):
                    found.append(Digest.parse(f"{algorithm}:{entry.name}"))
    return sorted(found)
