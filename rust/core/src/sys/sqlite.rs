//! The system calls of SQLite, which takes replacements for them.
//!
//! Each replacement makes the call that SQLite asks for, and adds what SQLite lacks:
//!
//! | Call | Addition |
//! | --- | --- |
//! | `open` | a child of a fork closes the file (`sys/fork.rs`; more such calls are in `meta/files.rs`) |
//! | all | the number of the failure is kept: SQLite reports most as "I/O error", and after a failed open its own is another's |
//! | `open` | a reader that must not make an index of a log (`-shm`) gets a private one |
//! | `mmap` | all blocks of a shared mapping are allocated before it is mapped: a write to a hole on a full disk is SIGBUS |
//! | `mmap`, `munmap` | mappings are known that may need room for each change (btrfs), so that [`prepare_mappings`] finds them |
//! | `lstat` | `/proc/self/fd/N` counts as the directory it leads to, so that SQLite does not turn it into a path that is too long |
//! | `unlink` | the blocks of a log are not free for others before its name is durably gone |
#![allow(unsafe_code, reason = "SQLite calls these by C function pointers")]
#![allow(clippy::disallowed_methods, reason = "a part of the module that makes the calls")]

use std::cell::Cell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::{io, mem, ptr};

use libc::{off_t, size_t, ssize_t};
use rusqlite::ffi;
use rustix::fs::{self, CWD, MemfdFlags, Mode, OFlags};

use super::{Process, mark, promise};

thread_local! {
    static FAILURE: Cell<c_int> = const { Cell::new(0) };
    static PRIVATE: Cell<bool> = const { Cell::new(false) };
}

/// Have SQLite make its system calls here; call it before the first connection.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: each function has the signature that SQLite's table has for its name (`aSyscall` in os_unix.c). A name that
        // this SQLite does not use is refused, which changes nothing.
        unsafe {
            replace(c"open", open as *const ());
            replace(c"read", read as *const ());
            replace(c"pread", pread as *const ());
            replace(c"write", write as *const ());
            replace(c"pwrite", pwrite as *const ());
            replace(c"ftruncate", ftruncate as *const ());
            replace(c"mmap", mmap as *const ());
            replace(c"munmap", munmap as *const ());
            replace(c"lstat", lstat as *const ());
            replace(c"unlink", unlink as *const ());
        }
    });
}

/// Replace one call.
///
/// # Safety
///
/// `function` has the signature that SQLite expects of that call.
unsafe fn replace(name: &CStr, function: *const ()) {
    // SAFETY: SQLite initialises itself first; the default VFS lives as long as the process. Only function pointers of the
    // kind `fn()` are stored; SQLite casts them back to their own kind before it calls them.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(ptr::null());
        if let Some(vfs) = vfs.as_mut()
            && let Some(set) = vfs.xSetSystemCall
        {
            set(vfs, name.as_ptr(), mem::transmute::<*const (), ffi::sqlite3_syscall_ptr>(function));
        }
    }
}

/// Forget earlier failures of this thread.
pub fn forget_failure() {
    FAILURE.set(0);
}

/// Take a number for this thread's last failure.
pub fn set_failure(errno: i32) {
    FAILURE.set(errno);
}

/// Return the number of this thread's last failure, if there was one since `forget_failure`.
pub fn failure() -> Option<i32> {
    Some(FAILURE.get()).filter(|errno| *errno != 0)
}

/// Run `open`, which opens a database whose log has no index, and must not make one: SQLite then finds an empty one, which
/// nobody else sees, and builds its own in memory.
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

/// Keep the failure, and return what the call returned.
fn kept<T: PartialEq>(result: T, failed: &T) -> T {
    if result == *failed {
        keep(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
    }
    result
}

fn keep(errno: c_int) {
    // SQLite repeats what a signal has interrupted. What is not there is often no failure, or follows another one.
    if !matches!(errno, libc::EINTR | libc::ENOENT) {
        FAILURE.set(errno);
    }
}

/// Set the number that C callers read.
fn set_errno(errno: c_int) {
    // SAFETY: the pointer is to this thread's own number, and always valid.
    unsafe { *libc::__errno_location() = errno };
}

unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: SQLite's path is a C string that outlives the call.
    let found = kept(unsafe { libc::open(path, flags, mode) }, &-1);
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(path) };
    if found >= 0 {
        mark(found);
    }
    let missing = found < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT);
    if missing && PRIVATE.get() && name.to_bytes().ends_with(b"-shm") && flags & libc::O_ACCMODE == libc::O_RDONLY {
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

unsafe extern "C" fn mmap(
    address: *mut c_void,
    size: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    let shared = protection & libc::PROT_WRITE != 0 && flags & libc::MAP_SHARED != 0;
    if shared && let Err(errno) = allocate(fd, offset, size) {
        keep(errno);
        set_errno(errno);
        return libc::MAP_FAILED;
    }
    // SAFETY: SQLite's arguments, passed on as they are.
    let mapped = kept(unsafe { libc::mmap(address, size, protection, flags, fd, offset) }, &libc::MAP_FAILED);
    if mapped == libc::MAP_FAILED || !shared || overwrites(fd) {
        return mapped;
    }
    let mapping = Mapping { address: mapped as usize, size };
    if mapping.prepare() {
        mappings().push(mapping);
        return mapped;
    }
    // SAFETY: it was mapped above, and nobody knows of it yet.
    unsafe { libc::munmap(mapped, size) };
    keep(libc::ENOSPC);
    set_errno(libc::ENOSPC);
    libc::MAP_FAILED
}

unsafe extern "C" fn munmap(address: *mut c_void, size: size_t) -> c_int {
    // Held until it is unmapped: `prepare_mappings` must not touch what is mapped there next.
    let mut mappings = mappings();
    mappings.retain(|mapping| mapping.address != address as usize);
    // SAFETY: SQLite's arguments, passed on as they are.
    kept(unsafe { libc::munmap(address, size) }, &-1)
}

/// A shared mapping of a file whose pages may need room whenever they change.
struct Mapping {
    address: usize,
    size: usize,
}

/// The mappings of a process. A child gets a list of its own: a thread that it lacks may have held the lock of its parent's.
struct Mappings {
    process: Process,
    all: Mutex<Vec<Mapping>>,
}

static MAPPINGS: AtomicPtr<Mappings> = AtomicPtr::new(ptr::null_mut());

fn mappings() -> MutexGuard<'static, Vec<Mapping>> {
    let known = MAPPINGS.load(Ordering::Acquire);
    // SAFETY: a list is made once, whole, and never freed.
    let found = unsafe { known.as_ref() }.filter(|known| known.process.is_current());
    let mappings = found.unwrap_or_else(|| {
        let new = Box::into_raw(Box::new(Mappings { process: Process::current(), all: Mutex::default() }));
        let made = MAPPINGS.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire);
        // SAFETY: as above. If another thread was faster, ours is never used; it is some bytes, once for each process.
        unsafe { &*made.map_or_else(|other| other, |_| new) }
    });
    mappings.all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mapping {
    /// Have the kernel find the room that changes of these pages need; false where there is none.
    fn prepare(&self) -> bool {
        let address = ptr::with_exposed_provenance_mut::<c_void>(self.address);
        // SAFETY: it is mapped: `munmap` takes it out of the list first. The call changes no byte of it.
        let done = unsafe { libc::madvise(address, self.size, libc::MADV_POPULATE_WRITE) };
        // Linux before 5.14 does not know it.
        done == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
    }
}

/// Make room for changes of all mapped indices; false where there is none. A page that the kernel has written to the disk needs
/// new room on file systems that copy on write, and without it the next change would end the process (SIGBUS).
pub fn prepare_mappings() -> bool {
    mappings().iter().all(Mapping::prepare)
}

/// Whether that file system changes bytes where they are; no, if there is no telling.
fn overwrites(fd: c_int) -> bool {
    // SAFETY: the descriptor is SQLite's, which is open.
    promise::overwrites(unsafe { BorrowedFd::borrow_raw(fd) }).unwrap_or_default()
}

/// Give a range of a file its blocks; bytes that are there stay as they are.
fn allocate(fd: c_int, offset: off_t, size: size_t) -> Result<(), c_int> {
    let size = off_t::try_from(size).map_err(|_| libc::EINVAL)?;
    loop {
        // SAFETY: the call takes no pointers, and the descriptor is SQLite's, which is open.
        if unsafe { libc::fallocate(fd, 0, offset, size) } == 0 {
            return Ok(());
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            // Not to be had here (ext3, some network file systems). SQLite has written to each 4 KiB, which is mostly enough.
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(()),
            errno => return Err(errno.unwrap_or(libc::EIO)),
        }
    }
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
    let held = name.to_bytes().ends_with(b"-wal").then(|| hold_blocks(name).ok().flatten()).flatten();
    // SAFETY: as above.
    let result = kept(unsafe { libc::unlink(path) }, &-1);
    if result == 0
        && let Some((_file, dir)) = held
    {
        // DURABILITY: before the file is closed, and its blocks with it are free for others. Otherwise a power cut could
        // bring the name back with bytes of others behind it: SQLite would then apply the first part of an old log.
        fs::fsync(dir).ok();
    }
    result
}

/// Open a file and its directory, where freed blocks may be used again before the removal of a name is durable.
fn hold_blocks(path: &CStr) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = fs::openat(CWD, path, flags, Mode::empty())?;
    if promise::removes_before_reuse(file.as_fd())? {
        return Ok(None);
    }
    let above = Path::new(OsStr::from_bytes(path.to_bytes())).parent().unwrap_or(Path::new("."));
    let dir = fs::openat(CWD, above, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(Some((file, dir)))
}
