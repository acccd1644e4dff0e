//! A look for publishers that takes no lock, so that no process waits for a caller that is suspended here.

use std::ops::Range;
use std::os::fd::AsFd;

use super::{Locks, Table};
use crate::error::{At, Result};
use crate::format::lock_bytes::DIGESTS;

/// The most lock queries of one part of a look.
const MOST: usize = 64;

/// A look at all digests, in progress. It ends when each digest has been free at some moment since the look began.
///
/// The digests need not be free at the same moment, which may never come with many publishers. A publisher that held its digest when the
/// look began has released it since. A publisher that takes a digest after the look at it sees everything that the caller did before the
/// look: in this process because of the table's mutex, in other processes because of the kernel's lock of its list. The kernel does not
/// report locks of the same open file description, so the table is checked first.
pub struct DigestLook {
    /// Whether the look still has to wait for threads of this store.
    is_own_left: bool,
    /// The bytes that other stores have held at every look so far, or that have not been looked at.
    left: Vec<Range<u64>>,
}

impl Default for DigestLook {
    fn default() -> Self {
        Self { is_own_left: true, left: vec![DIGESTS] }
    }
}

impl Locks {
    /// Continue a look. Returns whether it has ended. Waits for threads of this store only.
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
        // These come last, so that the next part begins with the bytes that this one has not reached.
        look.left.splice(0..0, held);
        Ok(look.left.is_empty())
    }
}
