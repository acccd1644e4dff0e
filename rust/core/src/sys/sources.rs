//! System calls on directories that are not part of a store: their files are sources, and their names may have any bytes.
#![allow(clippy::disallowed_methods, reason = "part of the module that makes them")]

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, Mode, OFlags, RawDir};
use rustix::io::retry_on_intr;

use super::FileKind;
use super::linux::{NAMES, kind, time_ns};

/// The status of a file: values that change with its bytes, and values that a tree may record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// The device of its file system.
    pub device: u64,
    /// Its inode number.
    pub inode: u64,
    /// Its length in bytes.
    pub size: i64,
    /// When its bytes last changed, in ns since the epoch.
    pub mtime_ns: i64,
    /// When anything of it last changed, in ns since the epoch.
    pub ctime_ns: i64,
    /// Its kind.
    pub kind: FileKind,
    /// Its permission bits.
    pub mode: u32,
    /// The user and the group that own it.
    pub owner: (u32, u32),
}

/// A directory that is open for reading its names.
#[derive(Debug)]
pub struct SourceDirectory(rustix::fd::OwnedFd);

impl SourceDirectory {
    /// Open a directory; a link is followed only with `follow`.
    pub fn open(path: &Path, follow: bool) -> io::Result<Self> {
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if !follow {
            flags |= OFlags::NOFOLLOW;
        }
        Ok(Self(retry_on_intr(|| fs::open(path, flags, Mode::empty()))?))
    }

    /// Return the device and the inode.
    pub fn id(&self) -> io::Result<(u64, u64)> {
        let found = fs::fstat(&self.0)?;
        Ok((found.st_dev, found.st_ino))
    }

    /// Return the names in the order of their bytes, with their kinds if the file system provides them.
    pub fn names(&self) -> io::Result<Vec<(Vec<u8>, Option<FileKind>)>> {
        let mut buffer = Vec::with_capacity(NAMES);
        let mut entries = RawDir::new(&self.0, buffer.spare_capacity_mut());
        let mut found = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let known = Some(entry.file_type()).filter(|each| *each != fs::FileType::Unknown);
                found.push((name.to_vec(), known.map(kind)));
            }
        }
        found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
}

/// Return the status of a file; a link is not followed.
pub fn source_status(path: &[u8]) -> io::Result<SourceStatus> {
    let found = retry_on_intr(|| fs::statat(fs::CWD, OsStr::from_bytes(path), AtFlags::SYMLINK_NOFOLLOW))?;
    Ok(SourceStatus {
        device: found.st_dev,
        inode: found.st_ino,
        size: found.st_size,
        mtime_ns: time_ns(found.st_mtime, found.st_mtime_nsec),
        ctime_ns: time_ns(found.st_ctime, found.st_ctime_nsec),
        kind: kind(fs::FileType::from_raw_mode(found.st_mode)),
        mode: found.st_mode & 0o7777,
        owner: (found.st_uid, found.st_gid),
    })
}

/// Return the target of a link.
pub fn source_target(path: &[u8]) -> io::Result<Vec<u8>> {
    let found = retry_on_intr(|| fs::readlinkat(fs::CWD, OsStr::from_bytes(path), Vec::new()))?;
    Ok(found.into_bytes())
}
