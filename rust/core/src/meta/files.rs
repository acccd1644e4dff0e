//! SQLite's own files, as a fork sees them.
//!
//! SQLite keeps, for the whole process, a list of the files that it has open and of the locks that it holds on them. A child
//! inherits the list but not the locks (POSIX locks belong to a process), so a connection that it opens to the same file
//! would rely on locks that nobody holds. Its connections cannot be closed there either: that would write to the log, or
//! remove it. So SQLite's system calls go through this module and `sys/sqlite.rs`:
//!
//! * `open` and `close` mark SQLite's descriptors as ours, so that a child closes them (`sys/fork.rs`).
//! * `fstat` and `stat` give another device number in a child, so that a file that the parent had open is unknown there, and
//!   gets locks of its own. SQLite uses the number for nothing else.
#![allow(unsafe_code, reason = "SQLite takes its system calls as pointers to functions")]

use std::ffi::{CStr, c_char, c_int};
use std::mem;
use std::sync::OnceLock;

use rusqlite::ffi;

use super::mutexes;
use crate::sys::{Process, unmark};

type Close = unsafe extern "C" fn(c_int) -> c_int;
type Fstat = unsafe extern "C" fn(c_int, *mut libc::stat) -> c_int;
type Stat = unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int;

/// Have SQLite use the calls of this module; before the first connection is opened.
pub(super) fn watch() {
    static WATCHED: OnceLock<()> = OnceLock::new();
    WATCHED.get_or_init(|| {
        mutexes::watch();
        // SAFETY: SQLite initialises itself under a lock of its own and returns its one static table of system calls.
        let vfs = unsafe {
            ffi::sqlite3_initialize();
            ffi::sqlite3_vfs_find(c"unix".as_ptr())
        };
        let set = |name: &CStr, call| {
            // SAFETY: the table is never freed, and no connection of ours is open yet, so nobody reads it meanwhile.
            let known = unsafe { vfs.as_ref().and_then(|table| table.xSetSystemCall) };
            let set = known.unwrap_or_else(|| unreachable!("the SQLite that is compiled in has it"));
            // SAFETY: as above; `call` has the type that SQLite casts the entry of that name to.
            let result = unsafe { set(vfs, name.as_ptr(), call) };
            assert_eq!(result, ffi::SQLITE_OK, "SQLite has a system call {name:?}");
        };
        // SAFETY: pointers to functions have one size; SQLite casts each back to its own type before it calls it.
        unsafe {
            set(c"close", mem::transmute::<Close, ffi::sqlite3_syscall_ptr>(close));
            set(c"fstat", mem::transmute::<Fstat, ffi::sqlite3_syscall_ptr>(fstat));
            set(c"stat", mem::transmute::<Stat, ffi::sqlite3_syscall_ptr>(stat));
        }
    });
}

// SAFETY: called by SQLite only, with a descriptor of its own.
unsafe extern "C" fn close(fd: c_int) -> c_int {
    unmark(fd);
    // SAFETY: as this function's.
    unsafe { libc::close(fd) }
}

// SAFETY: called by SQLite only, with memory for the answer.
unsafe extern "C" fn fstat(fd: c_int, answer: *mut libc::stat) -> c_int {
    // SAFETY: as this function's.
    let result = unsafe { libc::fstat(fd, answer) };
    if result == 0 {
        // SAFETY: the call has filled the memory in.
        unsafe { tell_apart(&mut *answer) };
    }
    result
}

// SAFETY: called by SQLite only, with a path that ends in NUL and memory for the answer.
unsafe extern "C" fn stat(path: *const c_char, answer: *mut libc::stat) -> c_int {
    // SAFETY: as this function's.
    let result = unsafe { libc::stat(path, answer) };
    if result == 0 {
        // SAFETY: the call has filled the memory in.
        unsafe { tell_apart(&mut *answer) };
    }
    result
}

/// Give a file another identity than the parent's SQLite gave it. The upper half of Linux's device numbers is not used.
fn tell_apart(answer: &mut libc::stat) {
    answer.st_dev ^= libc::dev_t::from(Process::current().number()) << 32;
}
