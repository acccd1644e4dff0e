//! A look for publishers that takes nothing, so that no process waits for a caller that is suspended here.

use std::ops::Range;
use std::os::fd::AsFd;

use super::{Locks, Table};
use crate::error::{At, Result};
use crate::format::lock_bytes::DIGESTS;

/// The most questions of one part of a look.
const MOST: usize = 64;

/// A look at all digests, under way. It ends when each was free at some moment since the look began.
///
/// They need not all be free at the same moment: that moment may never come beside many publishers. One that had its digest when the look
/// began has given it back since. One that takes a digest after the look at it sees all that the caller did before the look: in this process
/// by the mutex of the table, in other processes by the kernel's lock of its list. As the kernel does not tell a description of its own locks,
/// the table comes first.
pub struct DigestLook {
    /// Whether the threads of this store are still to be waited for.
    is_own_left: bool,
    /// The bytes that other stores had at each look so far, or that were not looked at.
    left: Vec<Range<u64>>,
}

impl Default for DigestLook {
    fn default() -> Self {
        Self { is_own_left: true, left: vec![DIGESTS] }
    }
}

impl Locks {
    /// Go on with a look, and return whether it has ended. Waits for threads of this store only.
    pub fn look_on(&self, look: &mut DigestLook) -> Result<bool> {
        let Table { sys, path, file, freed, .. } = &*self.0;
        if look.is_own_left {
            drop(self.0.none_held()?);
            freed.notify_all();
            look.is_own_left = false;
        }
        let Some(file) = file else { return Ok(true) };
        let mut held = Vec::new();
        for _ in 0..MOST {
            let Some(bytes) = look.left.pop() else { break };
            if let Some(lock) = sys.find_lock(file.as_fd(), bytes.clone()).at("lock", || path)? {
                let beside = [bytes.start..lock.start, lock.end..bytes.end];
                look.left.extend(beside.into_iter().filter(|rest| !rest.is_empty()));
                held.push(lock);
            }
        }
        // Last, so that the next part begins with what this one has not reached.
        look.left.splice(0..0, held);
        Ok(look.left.is_empty())
    }
}
