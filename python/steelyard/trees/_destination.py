"""The directory into which a tree is checked out. Nothing outside of it is written, whatever the tree and the directory contain.

Each directory below it is opened relative to its parent, by a single name, and never through a symbolic link: an entry whose path leads
through a link is refused. Files and links get their names when they are complete. All calls block.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from contextlib import suppress

from steelyard.errors import InvalidDocument, StorageError
from steelyard.images.layout._files import fresh_name
from steelyard.trees._entry import Entry

__all__ = ("Destination", "replace")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Open:
    """An open directory on the path to the current one.

    Attributes:
        name: its name in its parent.
        file: its descriptor.
        names: the names that the tree has in it, so far.
        folded: the same names, by their form on a file system that ignores case.
        is_new: whether this checkout created it, so that it is empty.
    """

    def __init__(self, name: str, file: int, *, is_new: bool = False) -> None:
        self.name = name
        self.file = file
        self.is_new = is_new
        self.names: set[str] = set()
        self.folded: dict[str, str] = {}


class Destination:
    """A directory that receives the entries of a tree, in their order.

    Args:
        path: the directory; it is created if it is missing, with its parents.
        tree: the digest of the tree, for errors.
        delete: whether to remove files, links and directories that are not in the tree: when the entries of a directory are complete, and where
            an entry needs their place.
        check_names: whether to refuse two names that are the same name for the file system.

    Attributes:
        removed: the number of files, links and directories that were removed.
        failed: the files, links and directories that could not be removed, each with the error.

    Raises:
        StorageError: the directory cannot be made, opened or written to.
    """

    def __init__(self, path: str, tree: str, *, delete: bool = False, check_names: bool = False) -> None:
        self._path, self._tree, self._delete = path, tree, delete
        self._stack: list[_Open] = []
        self._folds = False
        self.removed = 0
        self.failed: list[tuple[OSError, Entry]] = []
        try:
            os.makedirs(path, exist_ok=True)  # noqa: PTH103  # a path as the caller named it
            self._stack.append(_Open("", os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)))
            if check_names:
                self._folds = _folds_names(self._stack[0].file)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise StorageError.of(error, operation="checkout", path=path) from error
            raise

    def close(self) -> None:
        """Close all directories."""
        while self._stack:
            os.close(self._stack.pop().file)

    def enter(self, entry: Entry) -> tuple[int, str]:
        """Return the open directory of an entry, and the entry's name in it. Missing directories are created.

        Raises:
            StorageError: a file or a link has the place of a directory.
            InvalidDocument: the names of two entries are the same name for the file system.
        """
        *above, name = entry.path.split("/")
        self._leave_to(above)
        for part in above[len(self._stack) - 1 :]:
            self._note(part, entry)
            self._stack.append(self._open_below(part, entry))
        self._note(name, entry)
        return self._stack[-1].file, name

    def _leave_to(self, above: list[str]) -> None:
        """Leave the directories that do not contain the next entry. Their entries are complete."""
        depth = 0
        while depth < min(len(above), len(self._stack) - 1) and self._stack[depth + 1].name == above[depth]:
            depth += 1
        while len(self._stack) - 1 > depth:
            self._leave()

    def _leave(self) -> None:
        left = self._stack.pop()
        try:
            if self._delete:
                self._remove_others(left)
        finally:
            os.close(left.file)

    def finish(self) -> None:
        """Leave all directories, as the tree is complete."""
        while self._stack:
            self._leave()

    def _remove_others(self, directory: _Open) -> None:
        for name in os.listdir(directory.file):  # noqa: PTH208  # a descriptor
            if name not in directory.names:
                try:
                    self._remove(directory.file, name)
                except OSError as error:  # the error does not concern the entry that comes next
                    above = [each.name for each in (*self._stack, directory) if each.name]
                    self.failed.append((error, Entry(path="/".join([*above, name]))))

    def _remove(self, directory: int, name: str) -> None:
        """Remove the file, link or directory with that name. Links are not followed."""
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            _remove_all(directory, name)
        else:
            os.unlink(name, dir_fd=directory)
        self.removed += 1

    def _open_below(self, name: str, entry: Entry) -> _Open:
        directory, is_new = self._stack[-1].file, True
        try:
            os.mkdir(name, dir_fd=directory)
        except FileExistsError:
            is_new = False
        try:
            return _Open(name, os.open(name, _DIRECTORY, dir_fd=directory), is_new=is_new)
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
            if not self._delete:
                raise self._conflict(errno.ENOTDIR, entry) from None
        self._remove(directory, name)
        os.mkdir(name, dir_fd=directory)
        return _Open(name, os.open(name, _DIRECTORY, dir_fd=directory), is_new=True)

    def _note(self, name: str, entry: Entry) -> None:
        """Record a name that the tree has in the current directory."""
        directory = self._stack[-1]
        directory.names.add(name)
        if self._folds:
            key = unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
            other = directory.folded.setdefault(key, name)
            if other != name:
                raise InvalidDocument(
                    self._tree,
                    where=f"entry {entry.path!r}",
                    expected=f"a name that is not the same as {other!r} on the file system of {self._path}",
                    actual=repr(name),
                )

    def _conflict(self, number: int, entry: Entry) -> StorageError:
        return StorageError(number, operation="checkout", path=os.path.join(self._path, entry.path))  # noqa: PTH118

    def status(self, entry: Entry, directory: int, name: str) -> os.stat_result | None:
        """Return the status of the object at the place of an entry, or None if the place is free.

        Raises:
            StorageError: a directory is at the place of a file or link; or the reverse.
        """
        if self._stack[-1].is_new:
            return None
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(found.st_mode) == (entry.kind == "directory"):
            return found
        if not self._delete:
            number = errno.ENOTDIR if entry.kind == "directory" else errno.EISDIR
            raise self._conflict(number, entry)
        self._remove(directory, name)
        return None

    def make_directory(self, entry: Entry) -> None:
        """Create a directory, unless it exists."""
        directory, name = self.enter(entry)
        if self.status(entry, directory, name) is None:
            os.mkdir(name, dir_fd=directory)
        # It is on the stack, so that leaving it removes the entries that the tree lacks.
        self._stack.append(_Open(name, os.open(name, _DIRECTORY, dir_fd=directory)))

    def make_link(self, entry: Entry) -> bool:
        """Create a symbolic link, and return False if it already exists."""
        directory, name = self.enter(entry)
        found = self.status(entry, directory, name)
        target = entry.target or ""
        if found is not None and stat.S_ISLNK(found.st_mode) and os.readlink(name, dir_fd=directory) == target:
            return False
        temporary = fresh_name()
        os.symlink(target, temporary, dir_fd=directory)
        replace(directory, temporary, name)
        return True


def replace(directory: int, temporary: str, name: str) -> None:
    """Give a complete link its name, and replace the object that has this name."""
    try:
        # DURABILITY: not synced; a repeated checkout compares the bytes.
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise


def _remove_all(directory: int, name: str) -> None:
    """Remove a directory with its content. Links are not followed.

    Unlike `shutil.rmtree` in Python 3.11, this does not recurse: directories may be deeper than Python's stack.
    """
    entered = [_emptied(directory, name)]
    try:
        while entered:
            here, file, left = entered[-1]
            if left:
                entered.append(_emptied(file, left.pop()))
                continue
            os.rmdir(here, dir_fd=entered[-2][1] if len(entered) > 1 else directory)
            os.close(entered.pop()[1])
    finally:
        for _, file, _ in entered:
            os.close(file)


def _emptied(directory: int, name: str) -> tuple[str, int, list[str]]:
    """Open a directory and remove all its entries except directories. Return its name, its descriptor, and the names of these directories."""
    file = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        with os.scandir(file) as found:
            entries = list(found)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=file)
        return name, file, [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except BaseException:
        os.close(file)
        raise


def _folds_names(directory: int) -> bool:
    """Return whether the file system ignores case in names."""
    name = fresh_name()
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory))
    try:
        os.stat(name.upper(), dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    finally:
        os.unlink(name, dir_fd=directory)
    return True
