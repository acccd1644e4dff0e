//! System calls that rustix does not have.
#![allow(unsafe_code, reason = "there is no safe wrapper of these")]

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Hold;

/// From `asm-generic/fcntl.h`; libc lacks it.
const F_SETSIG: libc::c_int = 10;

/// Hold or release bytes of a file for this open file description. Returns false at once if another one holds them.
///
/// Unlike POSIX locks, these do not disappear when another descriptor of the same file is closed, and two opens in one process
/// exclude each other. The kernel releases them with the last descriptor, however the process ends.
pub(super) fn lock(fd: BorrowedFd<'_>, bytes: Range<u64>, hold: Hold) -> io::Result<bool> {
    let kind = match hold {
        Hold::Shared => libc::F_RDLCK,
        Hold::Exclusive => libc::F_WRLCK,
        Hold::Free => libc::F_UNLCK,
    };
    let range = range(kind, bytes)?;
    // SAFETY: the descriptor is open for the borrow, and the kernel only reads `range`, which outlives the call.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// Find a lock by which another open file description holds some of these bytes exclusively, and return its bytes; any of several locks.
///
/// The kernel does not report locks of the same description, because they never conflict.
pub(super) fn find_lock(fd: BorrowedFd<'_>, bytes: Range<u64>) -> io::Result<Option<Range<u64>>> {
    let mut range = range(libc::F_RDLCK, bytes.clone())?;
    // SAFETY: the descriptor is open for the borrow, and the kernel reads and writes only `range`, which outlives the call.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    if range.l_type == short(libc::F_UNLCK) {
        return Ok(None);
    }
    let start = range.l_start.cast_unsigned();
    // A length of 0 means that the lock has no end.
    let end = if range.l_len == 0 { u64::MAX } else { start.saturating_add(range.l_len.cast_unsigned()) };
    Ok(Some(start.max(bytes.start)..end.min(bytes.end)))
}

/// Convert a range of bytes to the kernel's form.
fn range(kind: libc::c_int, bytes: Range<u64>) -> io::Result<libc::flock> {
    let invalid = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let start = i64::try_from(bytes.start).map_err(invalid)?;
    let end = i64::try_from(bytes.end).map_err(invalid)?;
    if end <= start {
        // A length of 0 would mean "to the end of the file, however far it grows".
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all-zero bytes are a valid `flock`: it has integer fields only.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = short(kind);
    range.l_whence = short(libc::SEEK_SET);
    range.l_start = start;
    range.l_len = end - start;
    Ok(range)
}

/// Start writing a range to the disk, without waiting.
pub(super) fn start_writeback(fd: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let offset = i64::try_from(offset).map_err(invalid)?;
    let size = i64::try_from(size).map_err(invalid)?;
    // SAFETY: the descriptor is open for the borrow; the call takes no pointers.
    let done = unsafe { libc::sync_file_range(fd.as_raw_fd(), offset, size, libc::SYNC_FILE_RANGE_WRITE) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Take a read lease on a file that is open for reading. Returns false if any process has it open for writing.
pub(super) fn lease(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // The kernel signals the holder when another process tries to open the file. Its default signal, SIGIO, would end
    // this process; SIGURG is ignored unless the program handles it.
    // SAFETY: the descriptor is open for the borrow; the call takes no pointers.
    let signal = unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, libc::SIGURG) };
    if signal != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    let done = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EAGAIN) { Ok(false) } else { Err(error) }
}

/// Release a lease. This fails only if there is none.
pub(super) fn unlease(fd: BorrowedFd<'_>) {
    // SAFETY: the descriptor is open for the borrow; the call takes no pointers.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
}

/// The lock kinds are C ints of the values 0 to 2, in a field of C shorts.
fn short(value: impl TryInto<libc::c_short>) -> libc::c_short {
    value.try_into().unwrap_or_default()
}
