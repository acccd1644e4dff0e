//! A `Sys` around another one: sees each call before it happens, and may answer in its place.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use libc::AT_FDCWD;

use super::{Fd, FileKind, Hold, Mount, Naming, Stat, Sys};

/// The kind of a call; the names are those of [`Sys`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of the same name")]
pub enum Op {
    OpenRoot,
    MkdirRoot,
    OpenSource,
    Mkdir,
    OpenDir,
    Create,
    CreateUnnamed,
    Open,
    WriteAt,
    ReadAt,
    Truncate,
    Preallocate,
    StartWriteback,
    SyncData,
    SyncFile,
    SyncFs,
    SyncDir,
    Naming,
    SetMode,
    SetMtime,
    SetAtime,
    LinkUnnamed,
    Link,
    Rename,
    Unlink,
    Rmdir,
    Stat,
    Mount,
    StatAt,
    Visit,
    Lock,
    FindLock,
    Lease,
}

/// One call: its kind, its descriptor and name, and its target.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Which call.
    pub op: Op,
    /// The descriptor it starts from.
    pub fd: RawFd,
    /// The name under that descriptor; empty if the call takes none.
    pub name: &'a str,
    /// The target directory and name of a link or rename.
    pub to: Option<(RawFd, &'a str)>,
}

/// The work of a layer around each call.
pub trait Around: Send + Sync {
    /// Make the call with `run`, once, often or never.
    fn around<T>(&self, call: Call<'_>, run: impl FnMut() -> io::Result<T>) -> io::Result<T>;

    /// Return whether a call of this kind is skipped, as if it had succeeded. This is only called for syncs.
    fn skips(&self, _op: Op) -> bool {
        false
    }

    /// Return how many of the `size` bytes of the next write may be written.
    fn write_limit(&self, size: usize) -> usize {
        size
    }

    /// Return the time of a clock; `ns` is its real time. `is_wall` is false for the clock that counts from the boot.
    fn clock_ns(&self, _is_wall: bool, ns: i64) -> i64 {
        ns
    }

    /// Return the information on a file; `stat` is the real one.
    fn file(&self, stat: Stat) -> Stat {
        stat
    }

    /// Return the ID of the boot; `id` is the real one.
    fn boot_id(&self, id: Option<String>) -> Option<String> {
        id
    }
}

/// A `Sys` with something around its calls.
pub struct Layer<A> {
    /// The code around each call.
    pub around: A,
    inner: Arc<dyn Sys>,
}

impl<A: Around> Layer<A> {
    /// Put `around` around `inner`.
    pub fn new(inner: Arc<dyn Sys>, around: A) -> Self {
        Self { around, inner }
    }

    fn on<T>(&self, op: Op, fd: BorrowedFd<'_>, run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.named(op, fd, "", run)
    }

    fn rooted<T>(&self, op: Op, path: &Path, run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let name = path.to_str().unwrap_or_default();
        self.around.around(Call { op, fd: AT_FDCWD, name, to: None }, run)
    }

    fn named<T>(&self, op: Op, fd: BorrowedFd<'_>, name: &str, run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.around.around(Call { op, fd: fd.as_raw_fd(), name, to: None }, run)
    }
}

impl<A: Around> Sys for Layer<A> {
    fn open_root(&self, path: &Path) -> io::Result<Fd> {
        self.rooted(Op::OpenRoot, path, || self.inner.open_root(path))
    }

    fn mkdir_root(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.rooted(Op::MkdirRoot, path, || self.inner.mkdir_root(path, mode))
    }

    fn open_source(&self, path: &Path) -> io::Result<Fd> {
        self.rooted(Op::OpenSource, path, || self.inner.open_source(path))
    }

    fn mkdir(&self, dir: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<()> {
        self.named(Op::Mkdir, dir, name, || self.inner.mkdir(dir, name, mode))
    }

    fn open_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd> {
        self.named(Op::OpenDir, dir, name, || self.inner.open_dir(dir, name))
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<Fd> {
        self.named(Op::Create, dir, name, || self.inner.create(dir, name, mode))
    }

    fn create_unnamed(&self, dir: BorrowedFd<'_>, mode: u32) -> io::Result<Fd> {
        self.on(Op::CreateUnnamed, dir, || self.inner.create_unnamed(dir, mode))
    }

    fn open(&self, dir: BorrowedFd<'_>, name: &str, write: bool) -> io::Result<Fd> {
        self.named(Op::Open, dir, name, || self.inner.open(dir, name, write))
    }

    fn open_unrecorded(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd> {
        self.named(Op::Open, dir, name, || self.inner.open_unrecorded(dir, name))
    }

    fn open_cached(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd> {
        self.named(Op::Open, dir, name, || self.inner.open_cached(dir, name))
    }

    fn write_at(&self, fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> io::Result<usize> {
        let limit = self.around.write_limit(data.len());
        self.on(Op::WriteAt, fd, || self.inner.write_at(fd, &data[..limit], offset))
    }

    fn read_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.on(Op::ReadAt, fd, || self.inner.read_at(fd, buffer, offset))
    }

    fn read_once_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.on(Op::ReadAt, fd, || self.inner.read_once_at(fd, &mut *buffer, offset))
    }

    fn read_cached_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.on(Op::ReadAt, fd, || self.inner.read_cached_at(fd, &mut *buffer, offset))
    }

    fn expect_sequential(&self, fd: BorrowedFd<'_>) {
        self.inner.expect_sequential(fd);
    }

    fn truncate(&self, fd: BorrowedFd<'_>, size: u64) -> io::Result<()> {
        self.on(Op::Truncate, fd, || self.inner.truncate(fd, size))
    }

    fn preallocate(&self, fd: BorrowedFd<'_>, size: u64) -> io::Result<()> {
        self.on(Op::Preallocate, fd, || self.inner.preallocate(fd, size))
    }

    fn start_writeback(&self, fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<()> {
        if self.around.skips(Op::StartWriteback) {
            return Ok(());
        }
        self.on(Op::StartWriteback, fd, || self.inner.start_writeback(fd, offset, size))
    }

    fn sync_data(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.around.skips(Op::SyncData) {
            return Ok(());
        }
        self.on(Op::SyncData, fd, || self.inner.sync_data(fd))
    }

    fn sync_file(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.around.skips(Op::SyncFile) {
            return Ok(());
        }
        self.on(Op::SyncFile, fd, || self.inner.sync_file(fd))
    }

    fn sync_fs(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.around.skips(Op::SyncFs) {
            return Ok(());
        }
        self.on(Op::SyncFs, fd, || self.inner.sync_fs(fd))
    }

    fn sync_dir(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        if self.around.skips(Op::SyncDir) {
            return Ok(());
        }
        self.on(Op::SyncDir, dir, || self.inner.sync_dir(dir))
    }

    fn naming(&self, dir: BorrowedFd<'_>) -> io::Result<Naming> {
        self.on(Op::Naming, dir, || self.inner.naming(dir))
    }

    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
        self.on(Op::SetMode, fd, || self.inner.set_mode(fd, mode))
    }

    fn set_mtime(&self, fd: BorrowedFd<'_>, ns: i64) -> io::Result<()> {
        self.on(Op::SetMtime, fd, || self.inner.set_mtime(fd, ns))
    }

    fn set_atime(&self, fd: BorrowedFd<'_>, ns: i64) -> io::Result<()> {
        self.on(Op::SetAtime, fd, || self.inner.set_atime(fd, ns))
    }

    fn link_unnamed(&self, fd: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let to = Some((dir.as_raw_fd(), name));
        let call = Call { op: Op::LinkUnnamed, fd: fd.as_raw_fd(), name: "", to };
        self.around.around(call, || self.inner.link_unnamed(fd, dir, name))
    }

    fn link(&self, from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new: &str) -> io::Result<()> {
        let call = Call { op: Op::Link, fd: from.as_raw_fd(), name, to: Some((to.as_raw_fd(), new)) };
        self.around.around(call, || self.inner.link(from, name, to, new))
    }

    fn rename(&self, from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new: &str, replace: bool) -> io::Result<()> {
        let call = Call { op: Op::Rename, fd: from.as_raw_fd(), name, to: Some((to.as_raw_fd(), new)) };
        self.around.around(call, || self.inner.rename(from, name, to, new, replace))
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.named(Op::Unlink, dir, name, || self.inner.unlink(dir, name))
    }

    fn rmdir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        self.named(Op::Rmdir, dir, name, || self.inner.rmdir(dir, name))
    }

    fn stat(&self, fd: BorrowedFd<'_>) -> io::Result<Stat> {
        self.on(Op::Stat, fd, || self.inner.stat(fd)).map(|stat| self.around.file(stat))
    }

    fn mount(&self, dir: BorrowedFd<'_>) -> io::Result<Mount> {
        self.on(Op::Mount, dir, || self.inner.mount(dir))
    }

    fn stat_at(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Stat> {
        self.named(Op::StatAt, dir, name, || self.inner.stat_at(dir, name)).map(|stat| self.around.file(stat))
    }

    fn visit_next(&self, dir: BorrowedFd<'_>, each: &mut dyn FnMut(&str, FileKind)) -> io::Result<bool> {
        self.on(Op::Visit, dir, || self.inner.visit_next(dir, &mut *each))
    }

    fn lock(&self, fd: BorrowedFd<'_>, bytes: Range<u64>, hold: Hold) -> io::Result<bool> {
        // The kernel never refuses to release a lock, so no layer may.
        if hold == Hold::Free {
            return self.inner.lock(fd, bytes, hold);
        }
        self.on(Op::Lock, fd, || self.inner.lock(fd, bytes.clone(), hold))
    }

    fn find_lock(&self, fd: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<Option<Range<u64>>> {
        self.on(Op::FindLock, fd, || self.inner.find_lock(fd, bytes.clone()))
    }

    fn lease(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        self.on(Op::Lease, fd, || self.inner.lease(fd))
    }

    fn unlease(&self, fd: BorrowedFd<'_>) {
        self.inner.unlease(fd);
    }

    fn boot_id(&self) -> Option<String> {
        self.around.boot_id(self.inner.boot_id())
    }

    fn user(&self) -> u32 {
        self.inner.user()
    }

    fn now_ns(&self) -> i64 {
        self.around.clock_ns(true, self.inner.now_ns())
    }

    fn boot_ns(&self) -> i64 {
        self.around.clock_ns(false, self.inner.boot_ns())
    }
}
