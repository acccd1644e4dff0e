//! Forks: in the child, the library's descriptors are closed, and its objects refuse to work.
//!
//! A child shares the open files of its parent. A lock is held by the open file, not by the process: an unlock in the
//! child would unlock for the parent, and a ref would stay held for as long as any child lives. So three things happen:
//!
//! * A handler (`pthread_atfork`) runs in the child before `fork` returns there. It replaces every descriptor of the library
//!   by an empty placeholder, which closes the open file in the child. The number stays in use: code that still knows it, and
//!   closes it later, can never close another file with the same number. The handler takes no lock, allocates nothing and
//!   makes one system call for each descriptor. Every call through a placeholder fails.
//! * The handler increases the number of the **process**. [`ProcessBound`] compares this number at every use, and refuses a
//!   use in the child without a system call and without a mutex, which a thread of the parent may have held.
//! * In the child, only inherited descriptors are closed. [`ProcessBound`] leaks the rest, which is only memory.
//!
//! `undivided.rs` handles locks that belong to the whole process.
//!
//! A child that executes another program at once, as `subprocess` does, inherits nothing, because all descriptors are
//! close-on-exec. The system call `clone` without the C library's `fork` is not noticed.
#![allow(unsafe_code, reason = "the C library calls the handler, and rustix has no call that takes a bare number")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::undivided;
use crate::error::{Error, Result};

/// Counts the forks that lie between this process and the first one.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Counts the forks that this process was about to make.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The placeholder by which the descriptors are replaced in a child; -1 before the handler is registered.
static PLACEHOLDER: AtomicI32 = AtomicI32::new(-1);

/// Bits of descriptors, a word for 64 of them.
type Chunk = [AtomicU64; 256];

const CHUNK_BITS: usize = 256 * 64;

/// The library's open descriptors. A chunk is made when it is first needed and never freed: the handler may read it at any time.
static OPEN: [AtomicPtr<Chunk>; 1024] = [const { AtomicPtr::new(ptr::null_mut()) }; 1024];

/// Identifies a process, as opposed to its parent and its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// This process.
    pub fn current() -> Self {
        Self(PROCESS.load(Ordering::Relaxed))
    }

    /// Whether this is the current process, and not one from which it was forked.
    pub fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Refuse a use in a child; `name` is the used object in the message.
    pub fn check(self, name: impl FnOnce() -> String) -> Result<()> {
        if self.is_current() {
            return Ok(());
        }
        let message = format!("{}: opened before a fork; open it again in this process", name());
        Err(Error::FailedPrecondition { message })
    }

    /// The number of forks between the first process and this one.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// A value that only the process that made it can use. A child neither uses nor drops it.
pub struct ProcessBound<T> {
    process: Process,
    /// `None` only during the drop.
    value: Option<T>,
}

impl<T> ProcessBound<T> {
    /// Bind a value to this process.
    pub fn new(value: T) -> Self {
        Self { process: Process::current(), value: Some(value) }
    }

    /// The value; `FailedPrecondition` in a child.
    pub fn get(&self, name: impl FnOnce() -> String) -> Result<&T> {
        self.process.check(name)?;
        Ok(self.value.as_ref().unwrap_or_else(|| unreachable!("it is there until it is dropped")))
    }

    /// The value; None in a child.
    pub fn here(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.process.is_current())
    }
}

impl<T> Drop for ProcessBound<T> {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // Its drop might wait for a thread that does not exist in the child, or undo work of the parent. The descriptors in it are
            // closed already.
            std::mem::forget(self.value.take());
        }
    }
}

/// A descriptor of the library. It is closed when this is dropped, and in every child.
#[derive(Debug)]
pub struct Fd {
    // The fields are dropped in this order, so that a number that other code can get is never marked.
    _mark: Mark,
    fd: OwnedFd,
}

impl Fd {
    /// A duplicate, which refers to the same open file.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(self.fd.try_clone()?.into())
    }
}

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self { _mark: Mark::new(fd.as_raw_fd()), fd }
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Marks a descriptor as the library's until this is dropped.
#[derive(Debug)]
struct Mark(RawFd);

impl Mark {
    fn new(fd: RawFd) -> Self {
        mark(fd);
        Self(fd)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        unmark(self.0);
    }
}

/// Mark a descriptor as the library's, so that a child closes it.
pub fn mark(fd: RawFd) {
    watch().ok();
    if let Some((word, bit)) = place(fd, true) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// Unmark a descriptor. Call this before it is closed: afterwards another file may have its number.
pub fn unmark(fd: RawFd) {
    if let Some((word, bit)) = place(fd, false) {
        word.fetch_and(!bit, Ordering::Relaxed);
    }
}

/// The word and the bit of a descriptor. Numbers beyond the table, from 16 million on, are not marked.
fn place(fd: RawFd, make: bool) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(fd).ok()?;
    let slot = OPEN.get(number / CHUNK_BITS)?;
    let mut chunk = slot.load(Ordering::Acquire);
    if chunk.is_null() && make {
        let new = Box::into_raw(Box::new([const { AtomicU64::new(0) }; 256]));
        match slot.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => chunk = new,
            Err(other) => {
                chunk = other;
                // SAFETY: it was made just now and no other code has seen it.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }
    // SAFETY: a chunk is made once, whole, and never freed.
    let words = unsafe { chunk.as_ref() }?;
    Some((&words[number % CHUNK_BITS / 64], 1 << (number % 64)))
}

/// Open a file that no child may keep open, not even a child that is forked between the call and the mark.
///
/// If there is a fork in that moment, `open` is called again, so it must be repeatable.
pub(crate) fn open_unshared(mut open: impl FnMut() -> io::Result<Fd>) -> io::Result<Fd> {
    loop {
        let before = FORKS.load(Ordering::SeqCst);
        let fd = open()?;
        if FORKS.load(Ordering::SeqCst) == before {
            return Ok(fd);
        }
    }
}

/// Register the handler, once for the process and its children.
pub fn watch() -> io::Result<()> {
    static WATCHED: OnceLock<()> = OnceLock::new();
    if WATCHED.get().is_some() {
        return Ok(());
    }
    let placeholder = open_placeholder()?;
    if PLACEHOLDER.compare_exchange(-1, placeholder, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        // SAFETY: it was opened just now and no other code knows the number.
        unsafe { libc::close(placeholder) };
        return Ok(());
    }
    // SAFETY: the handlers only use atomics and system calls that POSIX allows there. They are never unloaded: extension modules
    // are not, and if this one were, the C library would remove its handlers.
    let refused = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if refused != 0 {
        PLACEHOLDER.store(-1, Ordering::Release);
        // SAFETY: it was opened above and no other code uses it.
        unsafe { libc::close(placeholder) };
        return Err(io::Error::from_raw_os_error(refused));
    }
    WATCHED.set(()).ok();
    Ok(())
}

/// Open the placeholder with a number above those of the standard streams. If one of them is closed, the placeholder would get its
/// number, and output would go there.
fn open_placeholder() -> io::Result<i32> {
    // SAFETY: the call takes no pointers.
    let opened = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    if opened > libc::STDERR_FILENO {
        return Ok(opened);
    }
    // SAFETY: the call takes no pointers, and the descriptor was opened just now.
    let moved = unsafe { libc::fcntl(opened, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) };
    let error = io::Error::last_os_error();
    // SAFETY: it was opened above and no other code knows the number.
    unsafe { libc::close(opened) };
    if moved < 0 { Err(error) } else { Ok(moved) }
}

extern "C" fn before() {
    FORKS.fetch_add(1, Ordering::SeqCst);
    undivided::before_fork();
}

extern "C" fn in_parent() {
    undivided::in_parent();
}

/// Runs in the child, alone: the child has one thread.
extern "C" fn in_child() {
    PROCESS.fetch_add(1, Ordering::Relaxed);
    undivided::in_child();
    let placeholder = PLACEHOLDER.load(Ordering::Relaxed);
    for (slot, base) in OPEN.iter().zip((0..).step_by(CHUNK_BITS)) {
        // SAFETY: as in `place`.
        let Some(words) = (unsafe { slot.load(Ordering::Relaxed).as_ref() }) else { continue };
        for (word, base) in words.iter().zip((base..).step_by(64)) {
            // A child of this child need not close placeholders.
            let mut bits = word.swap(0, Ordering::Relaxed);
            while bits != 0 {
                let fd: RawFd = base + bits.trailing_zeros().cast_signed();
                bits &= bits - 1;
                // SAFETY: the number stays open, for the placeholder; its owner still closes it once. The call takes no
                // pointers. It fails only if other code has closed our descriptors.
                unsafe { libc::dup3(placeholder, fd, libc::O_CLOEXEC) };
            }
        }
    }
}
