//! The rows that a collection is about to write. Each transaction has few, because other writers and the caller of the step wait
//! meanwhile.

use std::collections::VecDeque;

use crate::archive::json::References;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::volume::Volume;
use crate::volume::meta::{Checked, Meta, Note, Record};

/// The most rows of a transaction, and the number for which a transaction is worthwhile.
const MOST: usize = 128;

/// The most notes that are written on a full disk: the rest of the reserve is for the removals.
const MOST_NOTES_IN_RESERVE: usize = 512;

/// The most pauses of a collection for other writers before it writes. Together they last some milliseconds: longer than the pauses
/// of a waiting thread, and short enough if the waiting thread of another store is suspended.
const MOST_PAUSES: u32 = 24;

/// Rows that wait to be written, in their order.
pub(super) struct Pending {
    /// The number of the collection that writes them.
    number: u64,
    records: VecDeque<Record>,
    /// The number of notes that were written or wait to be written.
    noted: usize,
}

impl Pending {
    pub fn new(number: u64) -> Self {
        Self { number, records: VecDeque::new(), noted: 0 }
    }

    /// Add the references of a document; `None` for a document that cannot be read. The document's row is written after its edges, so a
    /// row means that the edges are complete.
    pub fn add_document(&mut self, document: Digest, references: Option<References>) {
        let is_whole = references.is_some();
        let blobs = references.into_iter().flat_map(|references| references.blobs);
        self.records.extend(blobs.map(|reference| Record::Edge(document, reference)));
        self.records.push_back(Record::Document(document, is_whole));
    }

    /// Add the note of a blob, unless a full disk has no room for it.
    pub fn add_note(&mut self, digest: Digest, note: impl FnOnce() -> Note, volume: &Volume) -> bool {
        let has_room = self.noted < MOST_NOTES_IN_RESERVE || !volume.is_reserve_used();
        if has_room {
            self.records.push_back(Record::Note(digest, note()));
            self.noted += 1;
        }
        has_room
    }

    /// Queue the removal of notes.
    pub fn remove_notes(&mut self, digests: impl Iterator<Item = Digest>) {
        self.records.extend(digests.map(Record::NoNote));
    }

    /// Whether nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether enough rows wait to be written.
    pub fn are_many(&self) -> bool {
        self.records.len() >= MOST
    }

    /// Write the next rows. Returns false, without writing, while another process writes.
    pub fn write(&mut self, volume: &Volume) -> Result<bool> {
        let count = self.records.len().min(MOST);
        let records = &self.records.make_contiguous()[..count];
        let mut written = volume.meta.try_record(self.number, records);
        if written.as_ref().is_err_and(|error| volume.use_reserve(error)) {
            written = volume.meta.try_record(self.number, records);
        }
        match written? {
            None => return Ok(false),
            Some(Checked::Superseded) => return Err(superseded()),
            Some(Checked::Protected(..) | Checked::Done(())) => {}
        }
        self.records.drain(..count);
        Ok(true)
    }
}

/// Gives other writers of the metadata precedence.
#[derive(Default)]
pub(super) struct Yielding {
    pauses: u32,
}

impl Yielding {
    /// Whether to pause once more, so that a thread that waits to write can write first.
    pub fn must_pause(&mut self, meta: &Meta) -> bool {
        let must_pause = self.pauses < MOST_PAUSES && meta.is_waited_for();
        self.pauses = if must_pause { self.pauses + 1 } else { 0 };
        must_pause
    }
}

/// The error if a later collection has begun.
pub(super) fn superseded() -> Error {
    Error::CollectionBusy { holder: "another process".to_owned() }
}
