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
    /// Closed, with the error for later calls.
    Closed(Error),
    Aborted,
    /// A write or sync failed. The content of the disk is unknown, and another sync may succeed although bytes are lost, so nothing is
    /// tried again.
    Poisoned(Error),
}

pub(super) struct Inner {
    pub(super) phase: Phase,
    /// None once the ingest is closed, aborted or committed.
    pub(super) backing: Option<Backing>,
    pub(super) hashing: Hashing,
    /// The hash of the bytes in the file, from the first on; present only if the commit must verify them.
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
    /// The resources of an ingest with a ref.
    Named(Box<Named>),
    /// The resources of an anonymous ingest: a file that no other process sees.
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
    /// `None` while a checkpoint in progress has it.
    pub(super) control: Option<Control>,
    pub(super) away: Option<Away>,
    pub(super) _lock: RefLock,
}

/// A checkpoint in progress.
pub(super) struct Away {
    /// Returns the control, and the result.
    pub(super) back: Receiver<(Control, Result<()>)>,
    /// The bytes that it counts.
    pub(super) offset: u64,
    /// The process of the thread that makes it: a child that is forked later does not have that thread.
    pub(super) process: Process,
}

impl Phase {
    /// The reason why the ingest cannot be used, if there is one.
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

    /// Return the result of a step. If it has failed, the content of the disk is unknown, and the ingest is poisoned.
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

    /// The open resources. Only the final phases have none, and nothing is done in those phases.
    pub(super) fn backing(&self) -> Result<&Backing> {
        self.backing.as_ref().ok_or_else(|| Error::Closed { name: String::new() })
    }

    pub(super) fn data(&self) -> Result<BorrowedFd<'_>> {
        self.backing().map(Backing::data)
    }

    /// Complete a note of the tail that has been begun, if the ingest is open.
    pub(super) fn complete_note(&mut self) {
        if let (Phase::Open, Some(Backing::Named(named))) = (&self.phase, &mut self.backing) {
            named.notes.complete();
        }
    }

    pub(super) fn is_named(&self) -> bool {
        matches!(self.backing, Some(Backing::Named(_)))
    }

    /// The directory and state of an ingest with a ref; `None` while a checkpoint is in progress.
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
