//! The resources of an open ingest, and its phases.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::control::Control;
use super::hashing::Hashing;
use super::own::Own;
use super::tail::Notes;
use super::write_buffer::WriteBuffer;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::format::names::DATA;
use crate::hash::Hasher;
use crate::model::Status;
use crate::sys::{Fd, Process};
use crate::volume::lock::RefLock;
use crate::volume::{Temp, Volume};

/// The phase of an ingest.
pub(super) enum Phase {
    Open,
    /// With the error of later calls.
    Closed(Error),
    Aborted,
    /// A write or sync failed. The content of the disk is unknown and a repeated sync may lie, so nothing is tried again.
    Poisoned(Error),
}

pub(super) struct Inner {
    pub(super) phase: Phase,
    /// None once the ingest is closed, aborted or committed.
    pub(super) backing: Option<Backing>,
    pub(super) hashing: Hashing,
    /// A hash of what the file holds, from its first byte on; only where the commit shall verify.
    pub(super) recheck: Option<Hasher>,
    /// Bytes accepted but not yet written.
    pub(super) write_buffer: Arc<WriteBuffer>,
    /// Bytes in the data file.
    pub(super) written: u64,
    /// Bytes for which the kernel was asked to begin writing.
    pub(super) written_back: u64,
    /// Bytes that the last checkpoint covers.
    pub(super) durable: u64,
    /// Whether anything differs from the last checkpoint.
    pub(super) dirty: bool,
    pub(super) total: Option<u64>,
    pub(super) expected: Option<Digest>,
    pub(super) started_ns: i64,
    pub(super) updated_ns: i64,
}

/// The system resources of an open ingest.
pub(super) enum Backing {
    /// That of a ref.
    Named(Box<Named>),
    /// An anonymous one: a file that no other process sees.
    Unnamed(Temp),
}

/// The locks of the ingest of a ref, released in this order, the ref last.
pub(super) struct Named {
    pub(super) data: Arc<Fd>,
    pub(super) own: Own,
    pub(super) notes: Notes,
    /// Whether the data may only be published as a copy, because another process had it open for writing.
    pub(super) is_shared: bool,
    pub(super) path: PathBuf,
    /// None while a checkpoint is under way, which has it.
    pub(super) control: Option<Control>,
    pub(super) away: Option<Away>,
    pub(super) _lock: RefLock,
}

/// A checkpoint under way.
pub(super) struct Away {
    /// Returns the control, and the result.
    pub(super) back: Receiver<(Control, Result<()>)>,
    /// The bytes that it counts.
    pub(super) offset: u64,
    /// Where the thread is that makes it: not in a child that was forked since.
    pub(super) process: Process,
}

impl Phase {
    /// Why the ingest cannot be used, unless it can.
    pub(super) fn reason(&self, name: &str) -> Option<Error> {
        match self {
            Self::Open => None,
            Self::Aborted => Some(Error::Aborted { name: name.to_owned() }),
            Self::Closed(error) | Self::Poisoned(error) => Some(error.clone()),
        }
    }
}

impl Backing {
    pub(super) fn data(&self) -> BorrowedFd<'_> {
        match self {
            Self::Named(named) => named.data.as_fd(),
            Self::Unnamed(temp) => temp.fd(),
        }
    }
}

impl Inner {
    pub(super) fn offset(&self) -> u64 {
        self.written + self.write_buffer.bytes() as u64
    }

    pub(super) fn status(&self, name: &str) -> Status {
        Status {
            ref_: name.to_owned(),
            offset: self.offset(),
            total: self.total,
            expected: self.expected,
            started_ns: self.started_ns,
            updated_ns: self.updated_ns.max(self.write_buffer.updated_ns()),
        }
    }

    /// Pass on the result of a step after whose failure the disk's content is unknown.
    pub(super) fn poisoning<T>(&mut self, result: Result<T>) -> Result<T> {
        // The first failure is the one that is reported.
        if let (Err(error), Phase::Open) = (&result, &self.phase) {
            self.phase = Phase::Poisoned(error.clone());
            self.write_buffer.end(error.clone());
            let is_lost = matches!(error, Error::Aborted { .. } | Error::FailedPrecondition { .. });
            if let Some(Backing::Named(named)) = &mut self.backing
                && !is_lost
            {
                named.notes.forget();
            }
        }
        result
    }

    /// The open resources; only final phases have none, and nothing is done in them.
    pub(super) fn backing(&self) -> Result<&Backing> {
        self.backing.as_ref().ok_or_else(|| Error::Closed { name: String::new() })
    }

    pub(super) fn data(&self) -> Result<BorrowedFd<'_>> {
        self.backing().map(Backing::data)
    }

    /// Complete the note of a tail that is on its way, if the ingest is open.
    pub(super) fn complete_note(&mut self) {
        if let (Phase::Open, Some(Backing::Named(named))) = (&self.phase, &mut self.backing) {
            named.notes.complete();
        }
    }

    pub(super) fn is_named(&self) -> bool {
        matches!(self.backing, Some(Backing::Named(_)))
    }

    /// The directory and state of a ref's ingest; none while a checkpoint is under way.
    pub(super) fn control(&self) -> Option<&Control> {
        match &self.backing {
            Some(Backing::Named(named)) => named.control.as_ref(),
            Some(Backing::Unnamed(_)) | None => None,
        }
    }

    pub(super) fn control_mut(&mut self) -> Option<&mut Control> {
        match &mut self.backing {
            Some(Backing::Named(named)) => named.control.as_mut(),
            Some(Backing::Unnamed(_)) | None => None,
        }
    }

    pub(super) fn data_path(&self, volume: &Volume) -> PathBuf {
        match &self.backing {
            Some(Backing::Named(named)) => named.path.join(DATA),
            _ => volume.root.path().to_owned(),
        }
    }
}
