//! Files that have no final name yet.
//!
//! They are unnamed (`O_TMPFILE`), so that a crash leaves nothing. If the file system has no unnamed files, they have a name in
//! `tmp/`, and their owner holds a lock on them: a file there without a lock has no owner, and is removed by a sweep.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::root::Root;
use super::staged::Staged;
use crate::error::{At, Result};
use crate::format::names::temp_name;
use crate::sys::{Fd, Hold, Process, Sys};
use crate::waiting::Patience;

/// A temporary file. It is removed when dropped, unless it was published.
pub(crate) struct Temp {
    process: Process,
    sys: Arc<dyn Sys>,
    fd: Fd,
    name: Option<(Fd, String)>,
}

impl Temp {
    /// Make a temporary file on the file system of `dir`, open for reading and writing.
    pub(crate) fn create(root: &Root, dir: BorrowedFd<'_>, mode: u32) -> Result<Self> {
        let sys = root.sys();
        match sys.create_unnamed(dir, mode) {
            Err(error) if unsupported(&error) => Self::named(root, mode),
            other => {
                let fd = other.at("open", || root.path())?;
                let sys = Arc::clone(sys);
                Ok(Self { process: Process::current(), sys, fd, name: None })
            }
        }
    }

    fn named(root: &Root, mode: u32) -> Result<Self> {
        let (dir, path) = root.make_tmp()?;
        let sys = root.sys();
        loop {
            let name = unique_name(sys.as_ref());
            let fd = match sys.create(dir.as_fd(), &name, mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.at("create", || path.join(&name))?,
            };
            let name = Some((dir.try_clone().at("dup", || &path)?, name));
            let temp = Self { process: Process::current(), sys: Arc::clone(sys), fd, name };
            hold(sys.as_ref(), temp.fd()).at("lock", || &path)?;
            // A sweep may have removed the name before the lock was taken. The file then has no name by which it can be published.
            if sys.stat(temp.fd()).at("stat", || &path)?.nlink > 0 {
                return Ok(temp);
            }
        }
    }

    /// The file.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The file in the form for a publication.
    pub(crate) fn staged(&self) -> Staged<'_> {
        match &self.name {
            None => Staged::Unnamed(self.fd()),
            Some((dir, name)) => Staged::Named { dir: dir.as_fd(), name, fd: self.fd() },
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // In a child of a fork, the file belongs to the parent.
        if let Some((dir, name)) = &self.name
            && self.process.is_current()
        {
            // After publication the name no longer exists. Names are never used twice, so no other file can have it.
            self.sys.unlink(dir.as_fd(), name).ok();
        }
    }
}

/// Protect a file in `tmp/` from sweeps, as long as it is open.
pub(crate) fn hold(sys: &dyn Sys, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut patience = Patience::new();
    // A process that opens the store holds the lock for a moment.
    while !sys.lock(fd, 0..1, Hold::Exclusive)? {
        patience.pause().map_err(|_| io::Error::from_raw_os_error(libc::EAGAIN))?;
    }
    Ok(())
}

/// Return a name for `tmp/` that this process has not used before.
pub(crate) fn unique_name(sys: &dyn Sys) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    temp_name(std::process::id(), sys.now_ns(), count)
}

/// Remove the files that crashed processes have left in `tmp/`. Files that cannot be removed now are left to the next open.
pub(crate) fn sweep(root: &Root) {
    let Ok(Some(tmp)) = root.tmp() else { return };
    let sys = root.sys().as_ref();
    let Ok(entries) = sys.list(tmp.as_fd()) else {
        return;
    };
    for entry in entries {
        let Ok(file) = sys.open(tmp.as_fd(), &entry.name, false) else {
            continue;
        };
        // A shared lock is enough for the check, and is possible for files that are already read-only.
        if matches!(sys.lock(file.as_fd(), 0..1, Hold::Shared), Ok(true)) {
            sys.unlink(tmp.as_fd(), &entry.name).ok();
        }
    }
}

fn unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sys::{Fault, Faulty, Linux, Op};

    #[test]
    fn a_named_file_without_a_holder_is_swept() {
        let path = std::env::temp_dir().join(format!("steelyard-temp-{}", std::process::id()));
        let faulty = Faulty::over(Arc::new(Linux));
        let root = Root::open(faulty.clone(), &path, false).unwrap();
        faulty.set(Some(Fault::Every(Op::CreateUnnamed, libc::EOPNOTSUPP)));
        let temp = Temp::create(&root, root.dir(), 0o600).unwrap();
        fs::write(path.join("tmp/left"), "").unwrap();
        // Another open of the same root is needed: locks of the same one do not conflict.
        let other = Root::open(Arc::new(Linux), &path, false).unwrap();

        sweep(&other);

        let count = || fs::read_dir(path.join("tmp")).unwrap().count();
        assert_eq!(count(), 1);
        assert!(!path.join("tmp/left").exists());
        drop(temp);
        assert_eq!(count(), 0);
        fs::remove_dir_all(&path).unwrap();
    }
}
