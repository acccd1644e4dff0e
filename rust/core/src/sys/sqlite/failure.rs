//! The number of the last failure of each thread: SQLite reports most as "I/O error".
#![allow(unsafe_code, reason = "the number that C callers read is behind a pointer")]

use std::cell::Cell;
use std::ffi::c_int;
use std::io;

thread_local! {
    static FAILURE: Cell<c_int> = const { Cell::new(0) };
    static LOCK_FAILURE: Cell<c_int> = const { Cell::new(0) };
}

/// Forget earlier failures of this thread.
pub fn forget_failure() {
    FAILURE.set(0);
    LOCK_FAILURE.set(0);
}

/// Take a number for this thread's last failure.
pub fn set_failure(errno: i32) {
    FAILURE.set(errno);
}

/// Return the number of this thread's last failure, if there was one since `forget_failure`.
pub fn failure() -> Option<i32> {
    Some(FAILURE.get()).filter(|errno| *errno != 0)
}

/// Return the number with which the file system refused the last lock that this thread asked for. SQLite takes some of them
/// for a lock that another process has, and would ask for ever.
pub fn lock_failure() -> Option<i32> {
    Some(LOCK_FAILURE.get()).filter(|errno| *errno != 0)
}

/// Take a number for the last lock that the file system refused to this thread; 0 if it was not refused.
pub(super) fn set_lock_failure(errno: c_int) {
    LOCK_FAILURE.set(errno);
}

/// Keep the failure, and return what the call returned.
pub(super) fn kept<T: PartialEq>(result: T, failed: &T) -> T {
    if result == *failed {
        keep(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
    }
    result
}

/// Keep the number of a failure.
pub(super) fn keep(errno: c_int) {
    // SQLite repeats a call that a signal has interrupted. A missing file is often no failure, or follows another one.
    if !matches!(errno, libc::EINTR | libc::ENOENT) {
        FAILURE.set(errno);
    }
}

/// Set the number that C callers read.
pub(super) fn set_errno(errno: c_int) {
    // SAFETY: the pointer is to this thread's own number, and always valid.
    unsafe { *libc::__errno_location() = errno };
}
