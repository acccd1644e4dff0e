//! The system calls of SQLite, which takes replacements for them.
//!
//! Each replacement makes the call that SQLite requests, and adds what SQLite lacks:
//!
//! | Call | Addition |
//! | --- | --- |
//! | `open`, `close` | a child of a fork closes the file (`sys/fork.rs`) |
//! | `stat`, `fstat` | a file has another device number in a child: see below |
//! | all that can fail | the error number is kept: SQLite reports most failures as "I/O error", and after a failed open its own number is wrong |
//! | `open` | a reader that must not create the index of a log (`-shm`) gets a private one |
//! | `fcntl` | a file system that refuses locks is distinguished from a lock that another process holds |
//! | `mmap` | all blocks of a shared mapping are allocated before it is mapped: a write to a hole on a full disk is SIGBUS |
//! | `mmap`, `munmap` | mappings that may need new space for each change (btrfs) are recorded, so that [`prepare_mappings`] finds them |
//! | `lstat` | `/proc/self/fd/N` counts as the directory to which it leads, so that SQLite does not resolve it to a path that is too long |
//! | `sleep` | no pause if a lock was refused: SQLite would retry for ten seconds |
//! | `open` | the inode of a new log is durable before its name: see `log.rs` |
//! | `unlink` | no other file gets the inode and the blocks of a log before the removal of its name is durable |
//!
//! A failed `fsync` has no entry in SQLite's table; its number comes from SQLite's own log of errors.
//!
//! For the whole process, SQLite keeps a list of its open files and of the locks that it holds on them. A child inherits the list
//! but not the locks (POSIX locks belong to a process), so a connection that the child opens to the same file would rely on locks
//! that are not held. The child cannot close the inherited connections either: that would write to the log, or remove it. With
//! another device number, a file that the parent had open is unknown to SQLite in the child, and gets its own locks. SQLite uses
//! the number for nothing else.
#![allow(unsafe_code, reason = "SQLite calls these by C function pointers")]
#![allow(clippy::disallowed_methods, reason = "a part of the module that makes the calls")]

mod failure;
mod log;
mod mappings;
mod mutexes;

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::sync::Once;
use std::time::Duration;
use std::{io, mem, ptr, thread};

use libc::{off_t, size_t, ssize_t};
use rusqlite::ffi;
use rustix::fs::{self, MemfdFlags};

use super::{Process, mark, unmark};
use crate::format::names::SHM_SUFFIX;
use failure::{keep, kept, set_errno, set_lock_failure};

pub use failure::{failure, forget_failure, lock_failure, set_failure};
pub use mappings::prepare_mappings;

thread_local! {
    static PRIVATE: Cell<bool> = const { Cell::new(false) };
}

/// Make SQLite use these system calls. Call this before the first connection.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        mutexes::watch(note);
        // SAFETY: each function has the signature that SQLite's table has for its name (`aSyscall` in os_unix.c). The default VFS
        // lives as long as the process, and it is not used before the first connection.
        unsafe {
            replace(c"open", open as *const ());
            replace(c"close", close as *const ());
            replace(c"stat", stat as *const ());
            replace(c"fstat", fstat as *const ());
            replace(c"fcntl", fcntl as *const ());
            replace(c"read", read as *const ());
            replace(c"pread", pread as *const ());
            replace(c"write", write as *const ());
            replace(c"pwrite", pwrite as *const ());
            replace(c"ftruncate", ftruncate as *const ());
            replace(c"mmap", mappings::mmap as *const ());
            replace(c"munmap", mappings::munmap as *const ());
            replace(c"lstat", lstat as *const ());
            replace(c"unlink", unlink as *const ());
            let vfs = ffi::sqlite3_vfs_find(ptr::null()).as_mut();
            vfs.unwrap_or_else(|| unreachable!("it has just been used")).xSleep = Some(sleep);
        }
    });
}

/// Replace one call.
///
/// # Safety
///
/// `function` has the signature that SQLite expects of that call.
unsafe fn replace(name: &CStr, function: *const ()) {
    // SAFETY: SQLite is initialised; the default VFS lives as long as the process, and this process has no open connection yet. Only
    // function pointers of the type `fn()` are stored; SQLite casts them back to their own type before it calls them.
    let result = unsafe {
        let vfs = ffi::sqlite3_vfs_find(ptr::null());
        let set = vfs.as_ref().and_then(|table| table.xSetSystemCall);
        set.map(|set| set(vfs, name.as_ptr(), mem::transmute::<*const (), ffi::sqlite3_syscall_ptr>(function)))
    };
    assert_eq!(result, Some(ffi::SQLITE_OK), "the SQLite that is compiled in has a system call {name:?}");
}

/// Run `open`, which opens a database whose log has no index and must not create one: SQLite gets an empty index that no other
/// process sees, and builds its own in memory.
pub fn with_private_index<T>(open: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            PRIVATE.set(false);
        }
    }
    PRIVATE.set(true);
    let _reset = Reset;
    open()
}

/// Keep the error number of a failed call from SQLite's log: `os_unix.c:1234: (28) full_fsync(/path) - No space left on device`.
///
/// # Safety
///
/// SQLite calls it, with a C string.
unsafe extern "C" fn note(_: *mut c_void, code: c_int, message: *const c_char) {
    if message.is_null() || !matches!(code & 0xff, ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN) {
        return;
    }
    // SAFETY: SQLite's message is a C string that outlives the call.
    let message = unsafe { CStr::from_ptr(message) }.to_string_lossy();
    let number = message.strip_prefix("os_unix.c:").and_then(|text| text.split_once(": (")?.1.split_once(')'));
    if let Some(errno) = number.and_then(|(number, _)| number.parse().ok()).filter(|errno| *errno > 0) {
        keep(errno);
    }
}

unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: SQLite's path is a C string that outlives the call.
    let found = kept(unsafe { libc::open(path, flags, mode) }, &-1);
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(path) };
    if found >= 0 {
        mark(found);
        if flags & libc::O_CREAT != 0 && log::is_log(name) {
            // SAFETY: SQLite's file, which has just been opened.
            log::settle_new(unsafe { BorrowedFd::borrow_raw(found) }).ok();
        }
    }
    let missing = found < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
    if missing
        && PRIVATE.get()
        && name.to_bytes().ends_with(SHM_SUFFIX.as_bytes())
        && flags & libc::O_ACCMODE == libc::O_RDONLY
    {
        return match fs::memfd_create(c"index", MemfdFlags::CLOEXEC) {
            Ok(file) => {
                let file = file.into_raw_fd();
                mark(file);
                file
            }
            Err(_) => found,
        };
    }
    found
}

unsafe extern "C" fn close(fd: c_int) -> c_int {
    unmark(fd);
    // SAFETY: the descriptor is SQLite's own.
    kept(unsafe { libc::close(fd) }, &-1)
}

unsafe extern "C" fn stat(path: *const c_char, found: *mut libc::stat) -> c_int {
    // SAFETY: SQLite's path is a C string, and there is memory for the answer.
    let result = kept(unsafe { libc::stat(path, found) }, &-1);
    if result == 0 {
        // SAFETY: the call has filled the memory in.
        unsafe { change_device(&mut *found) };
    }
    result
}

unsafe extern "C" fn fstat(fd: c_int, found: *mut libc::stat) -> c_int {
    // SAFETY: there is memory for the answer.
    let result = kept(unsafe { libc::fstat(fd, found) }, &-1);
    if result == 0 {
        // SAFETY: the call has filled the memory in.
        unsafe { change_device(&mut *found) };
    }
    result
}

/// Give a file another identity than it has for SQLite in the parent. Linux does not use the upper half of device numbers.
fn change_device(found: &mut libc::stat) {
    found.st_dev ^= libc::dev_t::from(Process::current().number()) << 32;
}

/// SQLite calls this as a variadic function, with one further argument or none. Linux passes a number or a pointer in the same place
/// either way, on every processor; without an argument, the value is ignored.
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: SQLite's arguments, passed on as they are.
    let result = unsafe { libc::fcntl(fd, command, argument) };
    if !matches!(command, libc::F_SETLK | libc::F_GETLK) {
        return kept(result, &-1);
    }
    let errno = if result == -1 { io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) } else { 0 };
    let is_taken = matches!(errno, libc::EAGAIN | libc::EACCES | libc::EINTR);
    set_lock_failure(if is_taken { 0 } else { errno });
    if result == -1 && !is_taken {
        keep(errno);
        set_errno(errno);
    }
    result
}

/// Pause between two attempts to get a lock of the log. Returns the length of the pause, in microseconds.
unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    if lock_failure().is_some() {
        return 0;
    }
    thread::sleep(Duration::from_micros(microseconds.unsigned_abs().into()));
    microseconds
}

unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, size: size_t) -> ssize_t {
    // SAFETY: SQLite's arguments, passed on as they are.
    kept(unsafe { libc::read(fd, buffer, size) }, &-1)
}

unsafe extern "C" fn pread(fd: c_int, buffer: *mut c_void, size: size_t, offset: off_t) -> ssize_t {
    // SAFETY: SQLite's arguments, passed on as they are.
    kept(unsafe { libc::pread(fd, buffer, size, offset) }, &-1)
}

unsafe extern "C" fn write(fd: c_int, data: *const c_void, size: size_t) -> ssize_t {
    // SAFETY: SQLite's arguments, passed on as they are.
    kept(unsafe { libc::write(fd, data, size) }, &-1)
}

unsafe extern "C" fn pwrite(fd: c_int, data: *const c_void, size: size_t, offset: off_t) -> ssize_t {
    // SAFETY: SQLite's arguments, passed on as they are.
    kept(unsafe { libc::pwrite(fd, data, size, offset) }, &-1)
}

unsafe extern "C" fn ftruncate(fd: c_int, size: off_t) -> c_int {
    // SAFETY: SQLite's arguments, passed on as they are.
    kept(unsafe { libc::ftruncate(fd, size) }, &-1)
}

unsafe extern "C" fn lstat(path: *const c_char, found: *mut libc::stat) -> c_int {
    // SAFETY: SQLite's path is a C string that outlives the call.
    let text = unsafe { CStr::from_ptr(path) }.to_bytes();
    let result = if is_descriptor(text) {
        // SAFETY: SQLite's arguments, passed on as they are.
        unsafe { libc::stat(path, found) }
    } else {
        // SAFETY: SQLite's arguments, passed on as they are.
        unsafe { libc::lstat(path, found) }
    };
    kept(result, &-1)
}

/// Whether a path is `/proc/self`, or a descriptor in its `fd`.
fn is_descriptor(path: &[u8]) -> bool {
    let number = path.strip_prefix(b"/proc/self/fd/");
    path == b"/proc/self" || number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}

unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: SQLite's path is a C string that outlives the call.
    let name = unsafe { CStr::from_ptr(path) };
    let removal = log::is_log(name).then(|| log::Removal::begin(name).ok().flatten()).flatten();
    // SAFETY: as above.
    let result = kept(unsafe { libc::unlink(path) }, &-1);
    if result == 0
        && let Some(removal) = removal
    {
        removal.finish().ok();
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_lock_is_not_waited_for() {
        install();
        // SAFETY: the default VFS lives as long as the process.
        let vfs = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        // SAFETY: as above; it has the method.
        let pause = || unsafe { (*vfs).xSleep.map(|sleep| sleep(vfs, 10)) };

        forget_failure();
        assert_eq!(Some(10), pause());
        set_lock_failure(libc::ENOLCK);
        assert_eq!(Some(0), pause());
    }
}
