//! An ingest that its writer shares with other processes: another one has taken the ref, or has the data open.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::Ingest;
use super::inner::{Backing, Inner};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::format::names::DATA;
use crate::hash::Hasher;
use crate::model::Labels;
use crate::pipe::PIECE;
use crate::sys::{read_full_at, write_all_at};
use crate::volume::Temp;
use crate::volume::{Candidate, Published};
use crate::volume::{Staged, Volume};

/// The values that a publication needs besides the bytes.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) labels: Option<&'a Labels>,
    pub(super) created_ns: i64,
}

impl Inner {
    /// Check that the ingest still belongs to this writer. If not, it is never written to again.
    ///
    /// This is done once for each flush, not for each write. An anonymous ingest has no name that another process could take.
    pub(super) fn check_own(&mut self, volume: &Volume) -> Result<()> {
        let Some(Backing::Named(named)) = &self.backing else { return Ok(()) };
        let result = named.own.check(volume);
        self.poisoning(result)
    }

    /// Close the data for writing and keep it open for reading: a file that no process has open for writing cannot change.
    fn stop_writing(&mut self, volume: &Volume) -> Result<()> {
        if let Some(Backing::Named(named)) = &mut self.backing {
            named.data = Arc::new(named.own.reopen(volume)?);
        }
        Ok(())
    }
}

impl Ingest {
    /// Publish the synced bytes: the file itself if it belongs to this writer only, otherwise a copy.
    pub(super) fn publish_bytes(&self, inner: &mut Inner, wanted: Wanted<'_>) -> Result<Published> {
        inner.stop_writing(self.volume())?;
        let backing = inner.backing()?;
        if let Backing::Named(named) = backing
            && named.is_shared
        {
            return self.publish_copy(inner, wanted);
        }
        let Wanted { digest, size, labels, created_ns } = wanted;
        let candidate = |staged| Candidate { staged, digest, size, labels, created_ns };
        let published = match backing {
            Backing::Unnamed(temp) => self.volume().publish(&candidate(temp.staged())),
            Backing::Named(named) => {
                let (dir, name, fd) = (named.own.dir(), DATA, named.data.as_fd());
                let check = || named.own.check(self.volume());
                self.volume().publish(&candidate(Staged::Owned { dir, name, fd, check: &check }))
            }
        };
        match published {
            Err(Error::Io { errno: libc::ETXTBSY, .. }) => self.publish_copy(inner, wanted),
            other => other,
        }
    }

    /// Publish a copy, which no other process has open. Its digest is computed from the copied bytes.
    fn publish_copy(&self, inner: &Inner, wanted: Wanted<'_>) -> Result<Published> {
        let Wanted { digest, size, labels, created_ns } = wanted;
        let temp = self.volume().temp(digest.algorithm())?;
        let actual = self.copy_to(inner, &temp, wanted)?;
        if actual != digest {
            let name = inner.data_path(self.volume()).display().to_string();
            return Err(Error::DataCorrupt { name, expected: digest.to_string(), actual: actual.to_string() });
        }
        // DURABILITY: the bytes of the copy are durable before it has a name; a power cut leaves the ingest.
        let synced = self.volume().sys.sync_data(temp.fd());
        synced.at("fdatasync", || self.volume().root.blob_path(&digest))?;
        self.volume().publish(&Candidate { staged: temp.staged(), digest, size, labels, created_ns })
    }

    /// Copy the bytes and return the digest of the copy.
    fn copy_to(&self, inner: &Inner, temp: &Temp, wanted: Wanted<'_>) -> Result<Digest> {
        let sys = self.volume().sys.as_ref();
        let mut hasher = Hasher::new(wanted.digest.algorithm());
        let mut buffer = vec![0; PIECE];
        while hasher.offset() < wanted.size {
            let at = hasher.offset();
            let take = usize::try_from(wanted.size - at).unwrap_or(PIECE).min(PIECE);
            let read = read_full_at(sys, inner.data()?, &mut buffer[..take], at);
            let read = read.at("read", || inner.data_path(self.volume()))?;
            if read == 0 {
                break;
            }
            let piece = &buffer[..read];
            hasher.update(piece);
            write_all_at(sys, temp.fd(), piece, at).at("write", || self.volume().root.blob_path(&wanted.digest))?;
        }
        Ok(hasher.digest())
    }
}
