//! The one call that no crate wraps.
#![allow(unsafe_code, reason = "there is no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// How much is written before the disk is asked to begin with it.
const BEHIND: u64 = 8 << 20;

/// Begin to write the last 8 MiB to the disk, without waiting, whenever as much has been written.
pub(crate) fn behind(file: &File, before: u64, after: u64) -> io::Result<()> {
    let (begun, end) = (before / BEHIND * BEHIND, after / BEHIND * BEHIND);
    if begun == end {
        return Ok(());
    }
    let number = |bytes: u64| i64::try_from(bytes).map_err(io::Error::other);
    let (start, size) = (number(begun)?, number(end - begun)?);
    // SAFETY: the descriptor is open for the borrow; the call takes no pointers.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), start, size, libc::SYNC_FILE_RANGE_WRITE) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
