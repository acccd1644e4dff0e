//! The names in one directory of blobs.
//!
//! To list a large directory takes most of a walk. Whatever gives or takes a name in it moves the directory's time of
//! change, so that a listing can be used again while that stands still: the files are still what is asked.

use std::sync::Arc;

use super::blob_dir::{BlobDir, before};
use super::kept::Listing;
use super::root::Root;
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Result};
use crate::sys::{FileKind, Sys};

/// The most bytes of names that a store keeps of a directory: those of half a million blobs with digests of 32 bytes.
const MOST_KEPT: usize = 16 << 20;

/// The blobs' names in one directory, in order: their hashes only, which is all that a walk holds of a store.
#[derive(Default)]
pub(crate) struct Names {
    algorithm: Option<Algorithm>,
    hashes: Arc<Vec<u8>>,
    next: usize,
}

impl Names {
    /// List the blobs of an algorithm. Whatever else is in the directory is passed over.
    pub(crate) fn list(root: &Root, algorithm: Algorithm) -> Result<Self> {
        let Some(dir) = root.blob_dir(algorithm)? else {
            return Ok(Self::default());
        };
        // Before the names: what changes meanwhile must show.
        let changed_ns = changed(root.sys().as_ref(), &dir)?;
        if let Some(hashes) = dir.names().get(changed_ns) {
            return Ok(Self::of(algorithm, hashes));
        }
        let settled = before(changed_ns, root.sys().now_ns());
        let hashes = Arc::new(read(root.sys().as_ref(), &dir, algorithm)?);
        dir.names().set((settled && hashes.len() <= MOST_KEPT).then(|| Listing { changed_ns, hashes: hashes.clone() }));
        Ok(Self::of(algorithm, hashes))
    }

    /// Return the blobs of an algorithm, if they were listed before and nothing has changed since.
    pub(crate) fn kept(root: &Root, algorithm: Algorithm) -> Result<Option<Self>> {
        let Some(dir) = root.blob_dir(algorithm)? else {
            return Ok(Some(Self::default()));
        };
        let hashes = dir.names().get(changed(root.sys().as_ref(), &dir)?);
        Ok(hashes.map(|hashes| Self::of(algorithm, hashes)))
    }

    fn of(algorithm: Algorithm, hashes: Arc<Vec<u8>>) -> Self {
        Self { algorithm: Some(algorithm), hashes, next: 0 }
    }

    /// Whether there is a blob of that name.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        let hash = digest.as_bytes();
        self.algorithm == Some(digest.algorithm())
            && match hash.len() {
                32 => search::<32>(&self.hashes, hash),
                48 => search::<48>(&self.hashes, hash),
                _ => search::<64>(&self.hashes, hash),
            }
    }

    /// Return the next names, at most `most`; none at the end.
    pub(super) fn take(&mut self, most: usize) -> Vec<Digest> {
        let taken: Vec<_> = self.rest().take(most).collect();
        self.next += taken.len();
        taken
    }

    /// Return all names.
    pub(crate) fn all(&self) -> impl Iterator<Item = Digest> {
        self.rest()
    }

    fn rest(&self) -> impl Iterator<Item = Digest> {
        self.algorithm.into_iter().flat_map(|algorithm| {
            let hashes = self.hashes.chunks_exact(algorithm.digest_size()).skip(self.next);
            hashes.map(move |hash| Digest::new(algorithm, hash))
        })
    }
}

fn changed(sys: &dyn Sys, dir: &BlobDir) -> Result<i64> {
    Ok(sys.stat(dir.fd()).at("stat", || dir.path())?.ctime_ns)
}

fn read(sys: &dyn Sys, dir: &BlobDir, algorithm: Algorithm) -> Result<Vec<u8>> {
    let mut hashes = Vec::new();
    let prefix = format!("{algorithm}:");
    let mut text = String::new();
    let visited = sys.visit(dir.fd(), &mut |name, kind| {
        if kind != FileKind::File {
            return;
        }
        text.clone_from(&prefix);
        text.push_str(name);
        if let Ok(digest) = Digest::parse(&text) {
            hashes.extend_from_slice(digest.as_bytes());
        }
    });
    visited.at("list", || dir.path())?;
    sort(&mut hashes, algorithm.digest_size());
    Ok(hashes)
}

/// Sort hashes of that size, which stand one after the other.
fn sort(hashes: &mut [u8], size: usize) {
    match size {
        32 => hashes.as_chunks_mut::<32>().0.sort_unstable(),
        48 => hashes.as_chunks_mut::<48>().0.sort_unstable(),
        _ => {
            debug_assert_eq!(size, 64, "the sizes of all algorithms are listed");
            hashes.as_chunks_mut::<64>().0.sort_unstable();
        }
    }
}

fn search<const SIZE: usize>(hashes: &[u8], hash: &[u8]) -> bool {
    hashes.as_chunks::<SIZE>().0.binary_search_by(|known| known[..].cmp(hash)).is_ok()
}
