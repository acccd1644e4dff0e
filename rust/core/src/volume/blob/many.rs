//! Hashes of many blobs in parallel on one processor: one hash uses the parts of the processor that another leaves idle.

use super::{Blob, Cache};
use crate::digest::Digest;
use crate::error::Result;
use crate::hash::Hasher;
use crate::hash::lanes::update_many;
use crate::pipe::{HASHING, Job};
use crate::threads::low_priority::low_priority;
use crate::volume::Volume;

/// Blobs that are read side by side: as many as the widest registers have lanes.
const WIDTH: usize = 16;

/// The bytes of each blob that are read at a time: those of all blobs fit into a processor's cache.
const STEP: usize = 64 << 10;

/// The state of a blob's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Their digest, of the algorithm of the blob's name.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// A blob that is being hashed.
struct Lane {
    /// Its place among the requested blobs.
    index: usize,
    blob: Blob,
    hasher: Hasher,
    buffer: Vec<u8>,
}

impl Volume {
    /// Hash blobs by the algorithms of their names, to check them: the page cache is left as it was.
    ///
    /// Each succeeds or fails by itself. If the job is cancelled, unfinished blobs are None.
    pub fn hash_many(&self, digests: &[Digest], job: &Job) -> Vec<Option<Result<Hashed>>> {
        low_priority(|| self.hash_here(digests, job))
    }

    fn hash_here(&self, digests: &[Digest], job: &Job) -> Vec<Option<Result<Hashed>>> {
        let _user = HASHING.enter();
        let mut results = vec![None; digests.len()];
        let mut waiting = digests.iter().enumerate();
        let mut lanes: Vec<Lane> = Vec::with_capacity(WIDTH);
        while !job.is_cancelled() {
            while lanes.len() < WIDTH
                && let Some((index, digest)) = waiting.next()
            {
                match self.inspect(digest) {
                    Ok(blob) => lanes.push(Lane::new(index, blob)),
                    Err(error) => results[index] = Some(Err(error)),
                }
            }
            if lanes.is_empty() {
                break;
            }
            lanes.retain_mut(|lane| match lane.read() {
                Ok(()) => true,
                Err(error) => {
                    results[lane.index] = Some(Err(error));
                    false
                }
            });
            let mut updates: Vec<_> = lanes.iter_mut().map(|lane| (&mut lane.hasher, &lane.buffer[..])).collect();
            update_many(&mut updates);
            job.add(lanes.iter().map(|lane| lane.buffer.len() as u64).sum());
            lanes.retain(|lane| {
                let size = lane.hasher.offset();
                let has_ended = size == lane.blob.size();
                if has_ended {
                    results[lane.index] = Some(Ok(Hashed { digest: lane.hasher.digest(), size }));
                }
                !has_ended
            });
        }
        results
    }
}

impl Lane {
    fn new(index: usize, blob: Blob) -> Self {
        let hasher = Hasher::new(blob.digest().algorithm());
        Self { index, blob, hasher, buffer: Vec::new() }
    }

    /// Read the next bytes, or the remaining ones.
    fn read(&mut self) -> Result<()> {
        let offset = self.hasher.offset();
        let left = usize::try_from(self.blob.size() - offset).unwrap_or(STEP);
        self.buffer.resize(left.min(STEP), 0);
        self.blob.read_some(&mut self.buffer, offset, Cache::Spare)
    }
}
