//! Free memory that the allocator has not returned to the system.
#![allow(unsafe_code, reason = "a function of the C library")]

/// Return free memory to the system. glibc keeps some for each thread that has allocated it: tens of MiB after a flood of requests.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and glibc locks each part of its memory.
    unsafe {
        libc::malloc_trim(0);
    }
}
