//! The mappings of SQLite's shared memory (`meta.db-shm`), which must not meet a full disk: a write to a mapped page without
//! room behind it would end the process (SIGBUS).
#![allow(unsafe_code, reason = "SQLite calls these by C function pointers")]
#![allow(clippy::disallowed_methods, reason = "a part of the module that makes the calls")]

use std::ffi::{c_int, c_void};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{io, ptr};

use libc::{off_t, size_t};

use super::super::{Process, promise};
use super::failure::{keep, kept, set_errno};

pub(super) unsafe extern "C" fn mmap(
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
    // SAFETY: it was mapped above, and no other code knows of it yet.
    unsafe { libc::munmap(mapped, size) };
    keep(libc::ENOSPC);
    set_errno(libc::ENOSPC);
    libc::MAP_FAILED
}

pub(super) unsafe extern "C" fn munmap(address: *mut c_void, size: size_t) -> c_int {
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

/// Whether that file system changes bytes where they are; no, if that is unknown.
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
