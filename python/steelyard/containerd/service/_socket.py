"""The path of the socket. No client can connect before the socket is ready and private, and no socket of another program is replaced.

The socket is bound in a private directory beside the path, through the descriptor of that directory, because its name may be too long. A link
then gives the socket its final name, and never replaces a file. A lock file beside the path keeps two servers from starting there at the same
time. It is removed with the server.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from steelyard.errors import StorageError

__all__ = ("Place", "private_place")

_ANSWER_SECONDS = 1.0

_WAITING = 1024
"""The most connections that wait to be accepted."""


class Place:
    """A place for a socket that only this process uses.

    Attributes:
        path: the final path.
    """

    def __init__(self, path: Path, directory: Path, descriptor: int) -> None:
        self.path = path
        self._name = f"steelyard-{secrets.token_hex(8)}"
        self._private = directory / self._name
        self._target = f"/proc/self/fd/{descriptor}/{self._name}"
        self._published: tuple[int, int] | None = None

    def listen(self) -> socket.socket:
        """Return a listening socket, under a name that no client knows.

        Raises:
            OSError: the file system refused the socket.
        """
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(self._target)
            listener.listen(_WAITING)
        except BaseException:
            listener.close()
            raise
        return listener

    def publish(self) -> None:
        """Give the bound socket its final name, with mode 0600.

        Raises:
            StorageError: another process has bound the path meanwhile (EADDRINUSE).
        """
        self._private.chmod(0o600)
        status = self._private.lstat()
        _remove_stale(self.path)
        try:
            # DURABILITY: not synced. A socket that a power cut leaves is stale, and the next service removes it.
            os.link(self._private, self.path, follow_symlinks=False)
        except FileExistsError:
            raise StorageError(errno.EADDRINUSE, operation="bind", path=str(self.path)) from None
        self._published = status.st_dev, status.st_ino
        self._private.unlink()

    def withdraw(self) -> None:
        """Remove the socket, if the path still has ours."""
        published, self._published = self._published, None
        with suppress(FileNotFoundError):
            status = self.path.lstat()
            if (status.st_dev, status.st_ino) == published:
                self.path.unlink()


@contextmanager
def private_place(path: Path) -> Iterator[Place]:
    """Yield a place for the socket `path`, and remove all its files afterwards.

    The directory of the path is created with mode 0700 if it does not exist. Its parent must exist.

    Raises:
        StorageError: a server answers at the path, or another one is about to start (EADDRINUSE); the path is not a
            socket (ENOTSOCK); or the file system refused.
    """
    try:
        with suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        with _lock(path):
            _remove_stale(path)
            directory = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
            try:
                descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                place = Place(path, directory, descriptor)
                try:
                    yield place
                finally:
                    place.withdraw()
                    os.close(descriptor)
            finally:
                shutil.rmtree(directory, ignore_errors=True)
    except StorageError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise StorageError.of(error, operation="bind", path=str(error.filename or path)) from error


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock file of a path. Its holder removes it, so a lock on a file that was removed meanwhile does not count."""
    name = path.with_name(path.name + ".lock")
    while True:
        descriptor = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StorageError(errno.EADDRINUSE, operation="bind", path=str(path)) from None
        except BaseException:
            os.close(descriptor)
            raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), name.lstat()):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            name.unlink()
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove a socket on which no server answers.

    Raises:
        StorageError: a server answers (EADDRINUSE), or the path is not a socket (ENOTSOCK).
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StorageError(errno.ENOTSOCK, operation="bind", path=str(path))
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_ANSWER_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        except FileNotFoundError:
            pass
        except TimeoutError:
            raise StorageError(errno.EADDRINUSE, operation="bind", path=str(path)) from None
        else:
            raise StorageError(errno.EADDRINUSE, operation="bind", path=str(path))
