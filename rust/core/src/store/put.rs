//! Blobs from memory, in one go: no ingest, no state file, nothing to resume.

use super::Store;
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::model::{Labels, check_labels};
use crate::publish::{Content, Existing, Published};
use crate::sys::write_all_at;

/// What a put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The blob's name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Whether there was no blob of that name before; false also when a damaged one was replaced.
    pub new: bool,
}

impl Store {
    /// Store bytes; on return the blob survives a power loss. Labels are set on a new blob only.
    ///
    /// A failed put leaves nothing, or the whole blob without having acknowledged it.
    pub fn put(
        &self,
        data: &[u8],
        algorithm: Algorithm,
        expected: Option<&Digest>,
        labels: Option<&Labels>,
    ) -> Result<Put> {
        self.check_writable()?;
        labels.map_or(Ok(()), check_labels)?;
        let digest = digest_of(data, algorithm);
        check_digest(data, &digest, expected)?;
        let size = data.len() as u64;
        let put = |new| Put { digest, size, new };
        let dir = self.root.make_blob_dir(algorithm)?;
        // A look without the lock first: what is stored already costs no write at all.
        let existing = self.existing(&dir, &digest, Content::Memory(data), size)?;
        if matches!(existing, Existing::Same) {
            return Ok(put(false));
        }
        let path = || self.root.blob_path(&digest);
        let created_ns = self.sys.now_ns();
        let temp = self.temp(algorithm)?;
        write_all_at(self.sys.as_ref(), temp.fd(), data, 0).at("write", path)?;
        // DURABILITY: before the blob has a name its bytes are on the disk; a power cut leaves nothing.
        self.sys.sync_data(temp.fd()).at("fdatasync", path)?;
        let published = self.publish(temp.staged(), &digest, size, labels, created_ns)?;
        Ok(put(published == Published::New))
    }
}

fn digest_of(data: &[u8], algorithm: Algorithm) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(data);
    hasher.digest()
}

fn check_digest(data: &[u8], digest: &Digest, expected: Option<&Digest>) -> Result<()> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let actual =
        if expected.algorithm() == digest.algorithm() { *digest } else { digest_of(data, expected.algorithm()) };
    if actual == *expected {
        return Ok(());
    }
    let (expected, actual) = (expected.to_string(), actual.to_string());
    Err(Error::UnexpectedDigest { expected, actual, name: None })
}
