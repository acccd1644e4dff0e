//! Storing blobs from memory in one step: no ingest, no state file, nothing to resume.

use std::os::fd::AsFd;

use super::Store;
use super::group_commit::{Entry, File, New};
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::model::{Labels, check_labels};
use crate::sys::write_all_at;
use crate::threads::low_priority::{WORTH, low_priority};
use crate::volume::{Content, Existing, Published};

/// The result of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The blob's name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Whether the blob did not exist before; false if a damaged blob was replaced.
    pub new: bool,
}

impl Store {
    /// Store bytes; on return the blob survives a power loss. Labels are set on a new blob only.
    ///
    /// A failed put leaves nothing, or the complete blob without an acknowledgement.
    pub fn put(
        &self,
        data: &[u8],
        algorithm: Algorithm,
        expected: Option<&Digest>,
        labels: Option<&Labels>,
    ) -> Result<Put> {
        self.put_under(None, data, algorithm, expected, labels)
    }

    /// Like `put`, under a lease. The blob is added to the lease before it is looked for.
    pub fn put_under(
        &self,
        lease: Option<&str>,
        data: &[u8],
        algorithm: Algorithm,
        expected: Option<&Digest>,
        labels: Option<&Labels>,
    ) -> Result<Put> {
        self.volume.check_writable()?;
        labels.map_or(Ok(()), check_labels)?;
        let mut is_new = false;
        let mut here = || {
            let put = self.put_here(lease, data, algorithm, expected, labels)?;
            is_new |= put.new;
            Ok(Put { new: is_new, ..put })
        };
        match data.len() as u64 {
            ..WORTH => self.volume.in_time(lease, here),
            WORTH.. => low_priority(|| self.volume.in_time(lease, &mut here)),
        }
    }

    fn put_here(
        &self,
        lease: Option<&str>,
        data: &[u8],
        algorithm: Algorithm,
        expected: Option<&Digest>,
        labels: Option<&Labels>,
    ) -> Result<Put> {
        let digest = digest_of(data, algorithm);
        check_digest(data, &digest, expected)?;
        self.volume.enter(lease, &[digest], "")?;
        let mut entry = Entry::new(algorithm);
        let created_ns = self.volume.sys.now_ns();
        let put = Put { digest, size: data.len() as u64, new: false };
        if !self.stage(&mut entry, digest, data, labels, created_ns, lease.is_some())? {
            return Ok(put);
        }
        let published = self.group_commit.submit(&self.volume, entry, || ()).remove(0)?;
        Ok(put.published(published))
    }

    /// Write bytes to a file of `entry`. Returns false if they are stored durably already. The file gets its name when the entry is
    /// submitted. `is_protected`: the caller has protected the blob from garbage collection before.
    pub(crate) fn stage(
        &self,
        entry: &mut Entry,
        digest: Digest,
        data: &[u8],
        labels: Option<&Labels>,
        created_ns: i64,
        is_protected: bool,
    ) -> Result<bool> {
        let size = data.len() as u64;
        let dir = self.volume.root.make_blob_dir(digest.algorithm())?;
        // First a check without the lock: a blob that is stored already costs no write.
        match self.volume.existing(&dir, &digest, Content::Memory(data), size)? {
            Existing::Same { .. } if self.volume.is_blind() => {}
            Existing::Same { file, .. } if !is_protected && !self.volume.confirm(&dir, &digest, file.as_fd())? => {}
            Existing::Same { durable: true, .. } => return Ok(false),
            Existing::Same { file, .. } => {
                entry.opened(&self.group_commit);
                entry.add(File::Stored(file));
                return Ok(true);
            }
            Existing::Absent | Existing::Stray | Existing::Damaged { .. } => {}
        }
        let path = || self.volume.root.blob_path(&digest);
        let temp = self.volume.temp(digest.algorithm())?;
        entry.opened(&self.group_commit);
        write_all_at(self.volume.sys.as_ref(), temp.fd(), data, 0).at("write", path)?;
        let labels = labels.filter(|labels| !labels.is_empty()).cloned();
        entry.add(File::New(New { temp, digest, size, labels, created_ns }));
        Ok(true)
    }
}

impl Put {
    /// The result after publication.
    pub(super) fn published(self, published: Published) -> Self {
        Self { new: matches!(published, Published::New { .. }), ..self }
    }
}

pub(super) fn digest_of(data: &[u8], algorithm: Algorithm) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(data);
    hasher.digest()
}

/// Refuse bytes whose digest is not the expected one. `digest` is their digest by the algorithm under which they will be stored.
pub(super) fn check_digest(data: &[u8], digest: &Digest, expected: Option<&Digest>) -> Result<()> {
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
