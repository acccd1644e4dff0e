//! Publication: check the size, check the digest, make the bytes durable, give them their name.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Ingest;
use super::control::{Found, Place};
use super::inner::{Inner, Phase};
use super::shared::Wanted;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::format::names::ingest_name;
use crate::hash::Hasher;
use crate::model::{Info, Labels, check_labels};
use crate::volume::Published;
use crate::waiting::{self, Caller, for_caller};

/// The caller of a commit. It no longer wants the result once the ingest is being closed.
struct UntilClosed {
    is_closing: Arc<AtomicBool>,
    caller: Option<Arc<dyn Caller>>,
}

impl Caller for UntilClosed {
    fn is_cancelled(&self) -> bool {
        self.is_closing.load(Ordering::Acquire) || self.caller.as_ref().is_some_and(|caller| caller.is_cancelled())
    }

    fn waits(&self, begins: bool) {
        if let Some(caller) = &self.caller {
            caller.waits(begins);
        }
    }
}

/// An ingest that is complete.
pub struct Sealed {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size, in bytes.
    pub size: u64,
    /// The path at which this process can read the bytes, as long as the ingest is open.
    pub path: PathBuf,
}

impl Ingest {
    /// Publish the bytes under their digest, and close the ingest in any case.
    ///
    /// After `UnexpectedSize`, `UnexpectedDigest` or `InvalidLabel` the bytes are kept durably; after `AlreadyExists` they are
    /// removed. After any other error either the ingest remains as of its last checkpoint, or the complete blob is stored without an
    /// acknowledgement.
    pub fn commit(&self, size: Option<u64>, expected: Option<&Digest>, labels: Option<&Labels>) -> Result<Info> {
        let mut inner = self.lock_to_commit();
        if let Some(reason) = inner.phase.reason(&self.name) {
            if matches!(inner.phase, Phase::Poisoned(_)) {
                self.release(&mut inner, Phase::Closed(self.closed()));
            }
            return Err(reason);
        }
        let caller = Arc::new(UntilClosed { is_closing: Arc::clone(&self.is_closing), caller: waiting::caller() });
        let mut result = for_caller(Some(caller), || self.publish(&mut inner, size, expected, labels));
        if matches!(result, Err(Error::Cancelled)) && self.is_closing.load(Ordering::Acquire) {
            result = Err(self.closed());
        }
        self.release(&mut inner, Phase::Closed(self.closed()));
        result
    }

    /// Check size and digest as a commit does, and make all bytes durable. The ingest stays open and nothing is published: another
    /// store publishes the bytes.
    pub fn seal(&self, size: Option<u64>, expected: Option<&Digest>) -> Result<Sealed> {
        self.with(|inner| {
            inner.flush(self.volume())?;
            inner.rejoin()?;
            inner.write_buffer.set_written(inner.written);
            let checked = self.check(inner, size, expected, None);
            inner.settle(self.volume())?;
            let path = format!("/proc/self/fd/{}", inner.data()?.as_raw_fd());
            Ok(Sealed { digest: checked?, size: inner.written, path: path.into() })
        })
    }

    fn publish(
        &self,
        inner: &mut Inner,
        size: Option<u64>,
        expected: Option<&Digest>,
        labels: Option<&Labels>,
    ) -> Result<Info> {
        inner.flush(self.volume())?;
        // The flush may have begun a checkpoint. Its failure must be known before anything is published.
        inner.rejoin()?;
        inner.write_buffer.set_written(inner.written);
        // This comes before the look for the blob: if the lease has ended, the bytes are kept, as after a wrong digest.
        let enter = |digest: Digest| self.volume().enter(self.lease.as_deref(), &[digest], &self.name).map(|()| digest);
        let checked = self.check(inner, size, expected, labels).and_then(enter);
        let digest = match checked {
            Ok(digest) => digest,
            Err(error) => {
                // The error says that the bytes are kept, so they are made durable first.
                inner.settle(self.volume())?;
                return Err(error);
            }
        };
        // DURABILITY: the bytes are durable before the blob has a name; a power cut leaves the ingest.
        inner.sync_written(self.volume())?;
        let created_ns = self.volume().sys.now_ns();
        let size = inner.written;
        match self.publish_bytes(inner, Wanted { digest, size, labels, created_ns }) {
            Ok(published) => {
                self.discard(inner, published)?;
                match published {
                    Published::New { created_ns } => {
                        let (updated_ns, labels) = (created_ns, labels.cloned().unwrap_or_default());
                        Ok(Info { digest, size, created_ns, updated_ns, labels: Arc::new(labels) })
                    }
                    Published::Existed | Published::Healed => Err(Error::AlreadyExists { digest: digest.to_string() }),
                }
            }
            // The ingest of this name may belong to another writer by now.
            Err(error @ (Error::Aborted { .. } | Error::FailedPrecondition { .. })) => Err(error),
            Err(error) => {
                // The bytes are synced. If they still belong to this writer, a resume finds all of them.
                inner.settle(self.volume()).ok();
                self.sweep().ok();
                Err(error)
            }
        }
    }

    fn check(
        &self,
        inner: &mut Inner,
        size: Option<u64>,
        expected: Option<&Digest>,
        labels: Option<&Labels>,
    ) -> Result<Digest> {
        let name = || (!self.name.is_empty()).then(|| self.name.clone());
        labels.map_or(Ok(()), check_labels)?;
        if let Some(expected) = size
            && expected != inner.written
        {
            return Err(Error::UnexpectedSize { expected, actual: inner.written, name: name() });
        }
        let actual = match expected {
            Some(expected) if expected.algorithm() != inner.hashing.algorithm() => {
                let (hasher, result) = inner.hash_to(self.volume(), Hasher::new(expected.algorithm()), inner.written);
                result?;
                hasher.digest()
            }
            _ => {
                inner.catch_up(self.volume(), u64::MAX)?;
                let actual = inner.hashing.with(|hasher| hasher.digest());
                inner.finish_recheck(self.volume(), &actual)?;
                actual
            }
        };
        match expected {
            Some(expected) if *expected != actual => {
                let (expected, actual) = (expected.to_string(), actual.to_string());
                Err(Error::UnexpectedDigest { expected, actual, name: name() })
            }
            _ => Ok(actual),
        }
    }

    /// Remove the files of the ingest that remain after publication.
    fn discard(&self, inner: &Inner, published: Published) -> Result<()> {
        if !inner.is_named() {
            return Ok(());
        }
        let removed = Place::of(self.volume())?.remove(&ingest_name(&self.name));
        match published {
            // The data was renamed, so the remaining files are garbage: they are invisible, and the next writer removes them.
            Published::New { .. } | Published::Healed => Ok(()),
            Published::Existed => removed,
        }
    }

    /// Remove the ingest if a failed publication has already taken its data away.
    fn sweep(&self) -> Result<()> {
        let (place, name) = (Place::of(self.volume())?, ingest_name(&self.name));
        match place.find(&name)? {
            Found::Garbage(_) => place.remove(&name),
            Found::Whole(_) | Found::Absent => Ok(()),
        }
    }
}
