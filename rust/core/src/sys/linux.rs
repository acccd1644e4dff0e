//! The real system calls.
#![allow(clippy::disallowed_methods, reason = "this is the module that makes them")]

use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{
    self, AtFlags, CWD, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, StatxFlags, Timespec, Timestamps,
    UTIME_OMIT,
};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::time::{ClockId, clock_gettime};

use super::{Fd, FileId, FileKind, Hold, Mount, Naming, Stat, Sys, promise, raw};

const NS: i64 = 1_000_000_000;

/// The time that is not set.
const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };

/// NONBLOCK: the name may refer to a pipe or a terminal, which must not block this call; files ignore the flag.
const READ_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// The size of the buffer with which one call reads a directory.
pub(super) const NAMES: usize = 32 << 10;

/// Drop the pages that this read brought into the page cache (Linux 6.14). Earlier pages stay.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Linux.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

impl Sys for Linux {
    fn open_root(&self, path: &Path) -> io::Result<Fd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::openat(CWD, path, flags, Mode::empty())?.into())
    }

    fn mkdir_root(&self, path: &Path, mode: u32) -> io::Result<()> {
        mkdir(CWD, path, mode)
    }

    fn open_source(&self, path: &Path) -> io::Result<Fd> {
        // Opening and closing a pipe would signal to its writer that the reader has closed it.
        if FileType::from_raw_mode(fs::stat(path)?.st_mode) == FileType::Fifo {
            return Err(Errno::SPIPE.into());
        }
        // NONBLOCK as in `open`.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(fs::openat(CWD, path, flags, Mode::empty())?.into())
    }

    fn mkdir(&self, dir: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<()> {
        mkdir(dir, Path::new(name), mode)
    }

    fn open_dir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(dir, name, flags, Mode::empty())?.into())
    }

    fn create(&self, dir: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<Fd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let file = Fd::from(fs::openat(dir, name, flags, mode)?);
        if let Err(error) = fs::fchmod(&file, mode) {
            fs::unlinkat(dir, name, AtFlags::empty()).ok();
            return Err(error.into());
        }
        Ok(file)
    }

    fn create_unnamed(&self, dir: BorrowedFd<'_>, mode: u32) -> io::Result<Fd> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        Ok(fs::openat(dir, ".", flags, Mode::from_raw_mode(mode))?.into())
    }

    fn open(&self, dir: BorrowedFd<'_>, name: &str, write: bool) -> io::Result<Fd> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        Ok(fs::openat(dir, name, access | READ_FLAGS, Mode::empty())?.into())
    }

    fn open_unrecorded(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd> {
        match fs::openat(dir, name, READ_FLAGS | OFlags::NOATIME, Mode::empty()) {
            // Another user owns the file.
            Err(Errno::PERM) => self.open(dir, name, false),
            other => Ok(other?.into()),
        }
    }

    fn open_cached(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Fd> {
        Ok(fs::openat2(dir, name, READ_FLAGS, Mode::empty(), ResolveFlags::CACHED)?.into())
    }

    fn write_at(&self, fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwrite(fd, data, offset)?)
    }

    fn read_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(fd, buffer, offset)?)
    }

    fn read_once_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match rustix::io::preadv2(fd, &mut [IoSliceMut::new(buffer)], offset, DONTCACHE) {
            // An older kernel, or a file system that does not support the flag.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => self.read_at(fd, buffer, offset),
            other => Ok(other?),
        }
    }

    fn read_cached_at(&self, fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::preadv2(fd, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT)?)
    }

    fn expect_sequential(&self, fd: BorrowedFd<'_>) {
        fs::fadvise(fd, 0, None, fs::Advice::Sequential).ok();
    }

    fn truncate(&self, fd: BorrowedFd<'_>, size: u64) -> io::Result<()> {
        Ok(fs::ftruncate(fd, size)?)
    }

    fn preallocate(&self, fd: BorrowedFd<'_>, size: u64) -> io::Result<()> {
        Ok(fs::fallocate(fd, fs::FallocateFlags::KEEP_SIZE, 0, size)?)
    }

    fn start_writeback(&self, fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<()> {
        raw::start_writeback(fd, offset, size)
    }

    fn sync_data(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // DURABILITY: the callers say what a power cut here leaves.
        Ok(fs::fdatasync(fd)?)
    }

    fn sync_file(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // DURABILITY: the callers say what a power cut here leaves.
        Ok(fs::fsync(fd)?)
    }

    fn sync_fs(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if !promise::whole(fd)? {
            return Err(Errno::OPNOTSUPP.into());
        }
        // DURABILITY: the callers say what a power cut here leaves.
        Ok(fs::syncfs(fd)?)
    }

    fn sync_dir(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        // DURABILITY: the callers say what a power cut here leaves.
        Ok(fs::fsync(dir)?)
    }

    fn naming(&self, dir: BorrowedFd<'_>) -> io::Result<Naming> {
        promise::naming(dir)
    }

    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
        Ok(fs::fchmod(fd, Mode::from_raw_mode(mode))?)
    }

    fn set_mtime(&self, fd: BorrowedFd<'_>, ns: i64) -> io::Result<()> {
        Ok(fs::futimens(fd, &Timestamps { last_access: OMIT, last_modification: timespec(ns) })?)
    }

    fn set_atime(&self, fd: BorrowedFd<'_>, ns: i64) -> io::Result<()> {
        Ok(fs::futimens(fd, &Timestamps { last_access: timespec(ns), last_modification: OMIT })?)
    }

    fn link_unnamed(&self, fd: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        // This call costs half as much as the other, but before Linux 6.10 it needs a privilege.
        match fs::linkat(fd, "", dir, name, AtFlags::EMPTY_PATH) {
            Err(Errno::NOENT) => {
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                Ok(fs::linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)?)
            }
            other => Ok(other?),
        }
    }

    fn link(&self, from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new: &str) -> io::Result<()> {
        Ok(fs::linkat(from, name, to, new, AtFlags::empty())?)
    }

    fn rename(&self, from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new: &str, replace: bool) -> io::Result<()> {
        // DURABILITY: durable once the callers have synced both directories; they say what an earlier power cut leaves.
        if replace {
            return Ok(fs::renameat(from, name, to, new)?);
        }
        match fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
            // Some network and stacked file systems do not support the flag. A link never replaces a name either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::linkat(from, name, to, new, AtFlags::empty())?;
                Ok(fs::unlinkat(from, name, AtFlags::empty())?)
            }
            other => Ok(other?),
        }
    }

    fn unlink(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(dir, name, AtFlags::empty())?)
    }

    fn rmdir(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
    }

    fn stat(&self, fd: BorrowedFd<'_>) -> io::Result<Stat> {
        Ok(stat(&fs::fstat(fd)?))
    }

    fn mount(&self, dir: BorrowedFd<'_>) -> io::Result<Mount> {
        match fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID) {
            Ok(found) => {
                let known = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
                let device = (found.stx_dev_major, found.stx_dev_minor);
                Ok(Mount { device, id: known.then_some(found.stx_mnt_id) })
            }
            Err(Errno::NOSYS) => {
                let device = fs::fstat(dir)?.st_dev;
                Ok(Mount { device: (fs::major(device), fs::minor(device)), id: None })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn stat_at(&self, dir: BorrowedFd<'_>, name: &str) -> io::Result<Stat> {
        Ok(stat(&fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn visit_next(&self, dir: BorrowedFd<'_>, each: &mut dyn FnMut(&str, FileKind)) -> io::Result<bool> {
        let mut buffer = Vec::with_capacity(NAMES);
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        let mut found = false;
        while let Some(entry) = entries.next() {
            let entry = entry?;
            found = true;
            match (entry.file_name().to_str(), entry.file_type()) {
                (Err(_) | Ok("." | ".."), _) => {}
                (Ok(name), FileType::Unknown) => match self.stat_at(dir, name) {
                    Ok(stat) => each(name, stat.kind),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                },
                (Ok(name), known) => each(name, kind(known)),
            }
            if entries.is_buffer_empty() {
                break;
            }
        }
        Ok(found)
    }

    fn lock(&self, fd: BorrowedFd<'_>, bytes: Range<u64>, hold: Hold) -> io::Result<bool> {
        raw::lock(fd, bytes, hold)
    }

    fn find_lock(&self, fd: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<Option<Range<u64>>> {
        raw::find_lock(fd, bytes)
    }

    fn lease(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        raw::lease(fd)
    }

    fn unlease(&self, fd: BorrowedFd<'_>) {
        raw::unlease(fd);
    }

    fn boot_id(&self) -> Option<String> {
        static BOOT: OnceLock<Option<String>> = OnceLock::new();
        let read = || std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let text = BOOT.get_or_init(|| read().map(|text| text.trim().to_owned()));
        text.clone().filter(|text| (1..=64).contains(&text.len()))
    }

    fn user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn now_ns(&self) -> i64 {
        clock_ns(ClockId::Realtime)
    }

    fn boot_ns(&self) -> i64 {
        clock_ns(ClockId::Boottime)
    }
}

fn clock_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec.saturating_mul(NS).saturating_add(now.tv_nsec)
}

fn mkdir(dir: BorrowedFd<'_>, path: &Path, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    fs::mkdirat(dir, path, mode)?;
    // The umask may have removed permission bits. A directory with too few would never be repaired, so it is removed on failure.
    fs::chmodat(dir, path, mode, AtFlags::empty()).map_err(|error| {
        fs::unlinkat(dir, path, AtFlags::REMOVEDIR).ok();
        error.into()
    })
}

pub(super) fn kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn stat(found: &fs::Stat) -> Stat {
    Stat {
        id: FileId { device: found.st_dev, inode: found.st_ino },
        size: u64::try_from(found.st_size).unwrap_or_default(),
        mtime_ns: time_ns(found.st_mtime, found.st_mtime_nsec),
        atime_ns: time_ns(found.st_atime, found.st_atime_nsec),
        ctime_ns: time_ns(found.st_ctime, found.st_ctime_nsec),
        kind: kind(FileType::from_raw_mode(found.st_mode)),
        mode: found.st_mode & 0o7777,
        owner: found.st_uid,
        nlink: found.st_nlink,
    }
}

fn timespec(ns: i64) -> Timespec {
    Timespec { tv_sec: ns.div_euclid(NS), tv_nsec: ns.rem_euclid(NS) }
}

pub(super) fn time_ns(seconds: i64, nanoseconds: u64) -> i64 {
    let nanoseconds = i64::try_from(nanoseconds).unwrap_or_default();
    seconds.saturating_mul(NS).saturating_add(nanoseconds)
}
