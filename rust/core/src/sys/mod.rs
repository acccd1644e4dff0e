//! Every system call that touches a store, behind one trait.
//!
//! Directories are descriptors, and names are single components that the core has computed, so untrusted text never becomes a
//! path. No other code of the core calls the system, so a test can make each call fail.

mod absent;
mod faulty;
mod fork;
mod layer;
mod linux;
mod outside;
mod policy;
mod promise;
mod raw;
mod sources;
pub mod sqlite;
mod undivided;

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

pub(crate) use absent::{found, missing};
pub use faulty::{Fault, Faulty};
pub(crate) use fork::open_unshared;
pub use fork::{Fd, Process, ProcessBound, mark, unmark, watch};
pub use layer::{Around, Call, Layer, Op};
pub use linux::Linux;
pub use outside::outside;
pub use policy::Policy;
pub use promise::Naming;
pub use sources::{SourceDirectory, SourceStatus, source_status, source_target};
pub use undivided::undivided;
pub(crate) use undivided::{begin, end};

/// The kind of file under a name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, never followed.
    Symlink,
    /// A device, socket or pipe.
    Other,
}

/// The identity of a file, independent of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// The device of its file system.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
}

/// The mount through which a directory is reached. Files are linked and renamed within one mount only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device of the file system.
    pub device: (u32, u32),
    /// The ID of the mount; `None` before Linux 5.8.
    pub id: Option<u64>,
}

/// The file system's information on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which file it is.
    pub id: FileId,
    /// Its length in bytes.
    pub size: u64,
    /// When its content or its time was last set, in ns since the epoch.
    pub mtime_ns: i64,
    /// The last recorded access, by the file system or a program, in ns since the epoch.
    pub atime_ns: i64,
    /// The time of the last change of anything about it, including its names, by the kernel's coarse clock, in ns since the epoch.
    pub ctime_ns: i64,
    /// Its kind.
    pub kind: FileKind,
    /// Its permission bits.
    pub mode: u32,
    /// The ID of the user that owns it.
    pub owner: u32,
    /// How many names it has.
    pub nlink: u64,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The kind of the file.
    pub kind: FileKind,
}

/// The way in which bytes of a lock file are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Shared with other holders.
    Shared,
    /// Exclusively.
    Exclusive,
    /// Not at all: the lock is released.
    Free,
}

/// The system calls of a store. Modes are set exactly, whatever the umask.
pub trait Sys: Send + Sync {
    /// Open the directory that a store's path names; symbolic links are followed.
    fn open_root(&self, path: &Path) -> io::Result<Fd>;
    /// Make the directory that a store's path names; its parent exists.
    fn mkdir_root(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Open a source, a file outside of the store whose bytes will become a blob, for reading. A pipe is refused without being opened
    /// (`ESPIPE`).
    fn open_source(&self, path: &Path) -> io::Result<Fd>;
    /// Make a directory.
    fn mkdir(&self, dir: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<()>;
    /// Open a directory; a symbolic link is refused.
    fn open_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd>;
    /// Make a file for reading and writing; a name that exists is refused.
    fn create(&self, dir: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<Fd>;
    /// Make a file without a name for reading and writing; it disappears with its last descriptor. The umask may remove permission
    /// bits: the code that gives the file a name checks them.
    fn create_unnamed(&self, dir: BorrowedFd<'_>, mode: u32) -> io::Result<Fd>;
    /// Open a file; a symbolic link is refused, and a pipe is not waited for.
    fn open(&self, dir: BorrowedFd<'_>, name: &str, write: bool) -> io::Result<Fd>;
    /// Open a file for reading, as `open` does. If the user owns the file, reads do not change its access time.
    fn open_unrecorded(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd>;
    /// Open a file for reading, as `open` does, if its path is in the kernel's cache. Fails if that would have to wait.
    fn open_cached(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd>;
    /// Write at an offset. It may write fewer bytes than given.
    fn write_at(&self, fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> io::Result<usize>;
    /// Read at an offset. It may read fewer bytes than there are; 0 means the end.
    fn read_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Read as `read_at` does, and try not to add pages of the file to the page cache.
    fn read_once_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Read the bytes that the page cache has, as `read_at` does; an error if none can be read without waiting for the disk.
    fn read_cached_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Announce that a file will be read from the beginning to the end. This is only a hint, and cannot fail.
    fn expect_sequential(&self, fd: BorrowedFd<'_>);
    /// Set a file's size.
    fn truncate(&self, fd: BorrowedFd<'_>, size: u64) -> io::Result<()>;
    /// Allocate space for the first bytes of a file. Its size does not change.
    fn preallocate(&self, fd: BorrowedFd<'_>, size: u64) -> io::Result<()>;
    /// Ask the kernel to start writing a range to the disk. This is only a hint: it makes nothing durable.
    fn start_writeback(&self, fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<()>;
    /// Make a file's bytes and size survive a power loss.
    fn sync_data(&self, fd: BorrowedFd<'_>) -> io::Result<()>;
    /// Make a file's bytes and its whole inode survive a power loss.
    fn sync_file(&self, fd: BorrowedFd<'_>) -> io::Result<()>;
    /// Make all data that was written to the file system of this file survive a power loss, including that of other programs.
    ///
    /// Reports every failure since the file was opened, once for each descriptor. Fails with `EOPNOTSUPP` if the kernel or the file
    /// system does not promise that.
    fn sync_fs(&self, fd: BorrowedFd<'_>) -> io::Result<()>;
    /// Make a directory's names survive a power loss.
    fn sync_dir(&self, dir: BorrowedFd<'_>) -> io::Result<()>;
    /// The sync that is needed after a file got a name in this directory.
    fn naming(&self, dir: BorrowedFd<'_>) -> io::Result<Naming>;
    /// Set a file's permission bits.
    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> io::Result<()>;
    /// Set a file's modification time, in ns since the epoch.
    fn set_mtime(&self, fd: BorrowedFd<'_>, ns: i64) -> io::Result<()>;
    /// Set a file's access time, in ns since the epoch.
    fn set_atime(&self, fd: BorrowedFd<'_>, ns: i64) -> io::Result<()>;
    /// Give a file without a name its name; a name that exists is refused.
    fn link_unnamed(&self, fd: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &str) -> io::Result<()>;
    /// Give a file a further name; a name that exists is refused.
    fn link(&self, from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new: &str) -> io::Result<()>;
    /// Rename a file. Without `replace`, a name that exists is refused.
    fn rename(&self, from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new: &str, replace: bool) -> io::Result<()>;
    /// Remove a file's name.
    fn unlink(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()>;
    /// Remove an empty directory.
    fn rmdir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()>;
    /// Look at an open file.
    fn stat(&self, fd: BorrowedFd<'_>) -> io::Result<Stat>;
    /// Return the mount through which a directory was opened.
    fn mount(&self, dir: BorrowedFd<'_>) -> io::Result<Mount>;
    /// Look at a name; a symbolic link is not followed.
    fn stat_at(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Stat>;
    /// Call `each` with the next few hundred names of a directory that was opened for this, in any order. Returns false at the end. Names
    /// that are not UTF-8 are skipped: the store has none. After an error, names may be missing.
    fn visit_next(&self, dir: BorrowedFd<'_>, each: &mut dyn FnMut(&str, FileKind)) -> io::Result<bool>;
    /// Hold or release bytes of a lock file for this descriptor, without waiting. Returns false if another descriptor holds one of them.
    fn lock(&self, fd: BorrowedFd<'_>, bytes: Range<u64>, hold: Hold) -> io::Result<bool>;
    /// Find a lock by which another descriptor holds some of these bytes of a lock file exclusively, and return its bytes. Locks of this
    /// descriptor do not count.
    fn find_lock(&self, fd: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<Option<Range<u64>>>;
    /// Take a lease on a file that this descriptor has open for reading only: until `unlease`, an open for writing fails or waits.
    /// Returns false if this or another process has the file open for writing.
    fn lease(&self, fd: BorrowedFd<'_>) -> io::Result<bool>;
    /// Release a lease. Does nothing if there is none.
    fn unlease(&self, fd: BorrowedFd<'_>);
    /// The ID of the current boot; `None` if the system does not provide it.
    fn boot_id(&self) -> Option<String>;
    /// The ID of the user of this process.
    fn user(&self) -> u32;
    /// The wall clock, in ns since the epoch.
    fn now_ns(&self) -> i64;
    /// The time since the boot, in ns, including the time for which the machine was suspended. This clock cannot be set.
    fn boot_ns(&self) -> i64;

    /// Open a directory again, to read its names in parts.
    fn reopen_dir(&self, dir: BorrowedFd<'_>) -> io::Result<Fd> {
        self.open_dir(dir, ".")
    }

    /// Call `each` with every name in a directory, as `visit_next` does.
    fn visit(&self, dir: BorrowedFd<'_>, each: &mut dyn FnMut(&str, FileKind)) -> io::Result<()> {
        let names = self.reopen_dir(dir)?;
        while self.visit_next(names.as_fd(), &mut *each)? {}
        Ok(())
    }

    /// Return every name in a directory, in any order. For directories that are known to be small.
    fn list(&self, dir: BorrowedFd<'_>) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.visit(dir, &mut |name, kind| {
            entries.push(Entry { name: name.to_owned(), kind });
        })?;
        Ok(entries)
    }
}

/// Write all of `data`. After a failure, an unknown part of it has been written.
pub fn write_all_at(sys: &dyn Sys, fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < data.len() {
        match sys.write_at(fd, &data[done..], offset + done as u64) {
            // Without this, a disk that writes nothing and reports no error would cause an endless loop.
            Ok(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
            Ok(written) => done += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fill the buffer, or read to the end of the file. Returns the number of bytes read.
pub fn read_full_at(sys: &dyn Sys, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    read_full(buffer, |rest, done| sys.read_at(fd, rest, offset + done))
}

/// Like `read_full_at`, but leave the page cache unchanged if the system can.
pub fn read_full_once_at(sys: &dyn Sys, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    read_full(buffer, |rest, done| sys.read_once_at(fd, rest, offset + done))
}

fn read_full(buffer: &mut [u8], mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match read(&mut buffer[done..], done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Fill the buffer. Fails with `UnexpectedEof` if the file ends before.
pub fn read_exact_at(sys: &dyn Sys, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    if read_full_at(sys, fd, buffer, offset)? < buffer.len() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(())
}
