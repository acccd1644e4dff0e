//! The share of the process's memory and descriptors that batches may take, however many there are at once.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::error::Result;
use crate::waiting::Patience;

/// The most parts of batches at a time. The bytes of each part are in memory.
const MOST_PARTS: usize = 8;

/// The most files of one part: their descriptors stay open until the files have their names. More files would hardly be faster.
const MOST_FILES: usize = 1024;

static TAKEN: Mutex<Taken> = Mutex::new(Taken { parts: 0, files: 0 });
static GIVEN_BACK: Condvar = Condvar::new();

struct Taken {
    parts: usize,
    files: usize,
}

/// A share of these resources; released on drop.
pub(super) struct Share {
    files: usize,
}

/// Return the most files of a part: a quarter of the descriptors that the process may have open.
pub(super) fn most_files() -> usize {
    (descriptors() / 4).clamp(1, MOST_FILES)
}

fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

impl Share {
    /// Take the share of one part with `files` files. Waits while other batches have too much. A thread must not take two shares.
    /// Fails with `Cancelled` if the caller no longer wants the result.
    pub fn take(files: usize) -> Result<Self> {
        let most = descriptors() / 2;
        let too_much = |taken: &mut Taken| {
            // The first part always gets its share, whatever the limit is.
            taken.parts > 0 && (taken.parts == MOST_PARTS || taken.files + files > most)
        };
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut patience = Patience::new();
        while too_much(&mut taken) {
            let moment = patience.next()?;
            taken = GIVEN_BACK.wait_timeout(taken, moment).unwrap_or_else(PoisonError::into_inner).0;
        }
        taken.parts += 1;
        taken.files += files;
        Ok(Self { files })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.parts -= 1;
        taken.files -= self.files;
        GIVEN_BACK.notify_all();
    }
}
