//! The error number of the last failure of each thread: SQLite reports most failures as "I/O error".
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

/// Set the error number of this thread's last failure.
pub fn set_failure(errno: i32) {
    FAILURE.set(errno);
}

/// Return the number of this thread's last failure, if there was one since `forget_failure`.
pub fn failure() -> Option<i32> {
    Some(FAILURE.get()).filter(|errno| *errno != 0)
}

/// Return the error number with which the file system refused the last lock that this thread requested. SQLite treats some of these
/// numbers as a lock of another process, and would retry forever.
pub fn lock_failure() -> Option<i32> {
    Some(LOCK_FAILURE.get()).filter(|errno| *errno != 0)
}

/// Set the error number of the last lock that this thread requested; 0 if it was not refused.
pub(super) fn set_lock_failure(errno: c_int) {
    LOCK_FAILURE.set(errno);
}

/// Keep the failure of a call, if it has failed, and return its result.
pub(super) fn kept<T: PartialEq>(result: T, failed: &T) -> T {
    if result == *failed {
        keep(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
    }
    result
}

/// Keep the number of a failure.
pub(super) fn keep(errno: c_int) {
    // SQLite repeats a call that a signal has interrupted. A missing file is often not a failure, or follows an earlier one.
    if !matches!(errno, libc::EINTR | libc::ENOENT) {
        FAILURE.set(errno);
    }
}

/// Set `errno` for C callers.
pub(super) fn set_errno(errno: c_int) {
    // SAFETY: the pointer is to this thread's own number, and always valid.
    unsafe { *libc::__errno_location() = errno };
}
