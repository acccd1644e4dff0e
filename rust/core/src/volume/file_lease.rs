//! A lease of the kernel on a file (`F_SETLEASE`): as long as it lasts, no process opens the file for writing.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread;
use std::time::Duration;

use crate::sys::Sys;

/// The waits before a file counts as shared: a process that is starting, or was just killed, has the writer's descriptors open for a
/// moment.
const PATIENCE: [Duration; 3] = [Duration::from_millis(1), Duration::from_millis(5), Duration::from_millis(25)];

/// A file that no process can open for writing until this is dropped, if the file system supports such leases.
pub(crate) struct FileLease<'a> {
    sys: &'a dyn Sys,
    fd: BorrowedFd<'a>,
}

impl<'a> FileLease<'a> {
    /// Take a lease on a file that is open for reading only; `None` if any process has it open for writing.
    pub(crate) fn take(sys: &'a dyn Sys, fd: BorrowedFd<'a>) -> io::Result<Option<Self>> {
        let mut waits = PATIENCE.iter();
        loop {
            match sys.lease(fd) {
                Ok(true) => return Ok(Some(Self { sys, fd })),
                Ok(false) => match waits.next() {
                    Some(wait) => thread::sleep(*wait),
                    None => return Ok(None),
                },
                // Some network file systems have no leases, and only the file's owner may take one.
                Err(error) if unsupported(&error) => return Ok(Some(Self { sys, fd })),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for FileLease<'_> {
    fn drop(&mut self) {
        self.sys.unlease(self.fd);
    }
}

fn unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::EACCES | libc::EPERM))
}
