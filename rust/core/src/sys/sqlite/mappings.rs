//! The mappings of SQLite's shared memory (`meta.db-shm`). Their pages must have space on the disk: a write to a mapped page without
//! space would end the process (SIGBUS).
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
    // The lock is held until the range is unmapped: `prepare_mappings` must not touch a later mapping at the same address.
    let mut mappings = mappings();
    mappings.retain(|mapping| mapping.address != address as usize);
    // SAFETY: SQLite's arguments, passed on as they are.
    kept(unsafe { libc::munmap(address, size) }, &-1)
}

/// A shared mapping of a file whose pages may need new space whenever they change.
struct Mapping {
    address: usize,
    size: usize,
}

/// The mappings of a process. A child gets its own list: a thread that exists only in the parent may hold the lock of the parent's list.
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
        // SAFETY: as above. If another thread was faster, the new list is not used, and leaks some bytes once per process.
        unsafe { &*made.map_or_else(|other| other, |_| new) }
    });
    mappings.all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mapping {
    /// Make the kernel allocate the space that changes of these pages need. Returns false if there is none.
    fn prepare(&self) -> bool {
        let address = ptr::with_exposed_provenance_mut::<c_void>(self.address);
        // SAFETY: it is mapped: `munmap` takes it out of the list first. The call changes no byte of it.
        let done = unsafe { libc::madvise(address, self.size, libc::MADV_POPULATE_WRITE) };
        // Linux before 5.14 does not know it.
        done == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
    }
}

/// Allocate space for changes of all mapped indexes. Returns false if there is none. On copy-on-write file systems, a page that the
/// kernel has written to the disk needs new space; without it, the next change would end the process (SIGBUS).
pub fn prepare_mappings() -> bool {
    mappings().iter().all(Mapping::prepare)
}

/// Whether this file system overwrites bytes in place; false if that is unknown.
fn overwrites(fd: c_int) -> bool {
    // SAFETY: the descriptor is SQLite's, which is open.
    promise::overwrites(unsafe { BorrowedFd::borrow_raw(fd) }).unwrap_or_default()
}

/// Allocate the blocks of a range of a file. Existing bytes do not change.
fn allocate(fd: c_int, offset: off_t, size: size_t) -> Result<(), c_int> {
    let size = off_t::try_from(size).map_err(|_| libc::EINVAL)?;
    loop {
        // SAFETY: the call takes no pointers, and the descriptor is SQLite's, which is open.
        if unsafe { libc::fallocate(fd, 0, offset, size) } == 0 {
            return Ok(());
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR) => {}
            // Not supported here (ext3, some network file systems). SQLite has written to each 4 KiB, which is usually enough.
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(()),
            errno => return Err(errno.unwrap_or(libc::EIO)),
        }
    }
}
