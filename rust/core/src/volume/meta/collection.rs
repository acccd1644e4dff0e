//! The statements of a collection: each is a short query or a short transaction. If the file cannot be read, every query of a
//! collection fails, because an empty result would be wrong.

use rusqlite::{Connection, OptionalExtension, params};

use super::collect::{Collecting, digest_of};
use super::writer::Sync;
use super::{Meta, images, query, rows};
use crate::archive::json::Reference;
use crate::digest::Digest;
use crate::error::Result;
use crate::format::metadata::{
    self, ACCEPTED_INDEX, BLOB, BOOT_CLOCK, COLLECTING, COLLECTION, COLLECTIONS, COLLECTOR_PROCESS, FOREIGN_COLLECTOR,
    GC_REFERENCE, GC_REFERENCE_END, GC_ROOT, INGEST, INGEST_NOTES, LEASES, ROOTS_LOST, STORE_ID,
};
use crate::model::{Image, Labels};
use crate::volume::boot_clock::BootClock;

/// The time at which a collection first found that nothing keeps a file, by the clocks of that time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The inode number of the file.
    pub inode: u64,
    /// The file's modification time.
    pub mtime_ns: i64,
    /// The wall clock.
    pub wall_ns: i64,
    /// The ID of the boot, if the system provides it.
    pub boot: Option<String>,
    /// The time since that boot.
    pub boot_ns: i64,
}

/// The known facts about a blob that a collection keeps or may remove.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The first blobs that it names as a document, if it was read before; `Some(None)` if it is not a valid document.
    pub document: Option<Option<Vec<Reference>>>,
    /// Whether it names more blobs than these.
    pub is_cut: bool,
    /// Its labels that name blobs.
    pub labels: Vec<(String, String)>,
    /// Its note.
    pub note: Option<Note>,
}

/// A row that a collection writes, or removes.
pub enum Record {
    /// A document names a blob.
    Edge(Digest, Reference),
    /// A document whose edges are all written; false if it is not a valid document.
    Document(Digest, bool),
    /// The note of a blob.
    Note(Digest, Note),
    /// The removal of the note of a blob.
    NoNote(Digest),
}

/// The beginning of a collection.
pub struct Start<'a> {
    /// The ID that the marker and this file share; `None` for a new one.
    pub id: Option<&'a str>,
    /// Whether the caller accepts that roots may be lost.
    pub accept: bool,
    /// Whether the other program no longer collects.
    pub take_back: bool,
    /// The index that is accepted.
    pub index: Option<String>,
    /// The clocks, if the system identifies the boot.
    pub clock: Option<BootClock>,
}

/// The result of a transaction of a collection.
pub enum Checked<T> {
    /// A later collection has begun.
    Superseded,
    /// Blobs were protected meanwhile: the blobs, and the number up to which the log was read.
    Protected(Vec<String>, i64),
    /// No blob was protected meanwhile; the result of the work.
    Done(T),
}

/// SQLite's setting for the number of pages in its log after which a commit copies them into the file. To copy 1,000 pages, the default,
/// takes some 5 ms, which is too long for a step of a collection.
const AUTOCHECKPOINT: &str = "wal_autocheckpoint";

impl Meta {
    /// Return the ID, whether roots may be lost, and the accepted index.
    pub fn collectable(&self) -> Result<(Option<String>, bool, Option<String>)> {
        self.check_labels_readable()?;
        let ask = |connection: &Connection| {
            let setting = |name| query::setting(connection, name);
            Ok((setting(STORE_ID)?, setting(ROOTS_LOST)?.is_some(), setting(ACCEPTED_INDEX)?))
        };
        self.read(ask)?.ok_or_else(|| self.corrupt())
    }

    /// Begin a collection, and return its number and the ID. On return the beginning survives a power loss. Waits for other processes.
    pub fn start_collection(&self, start: &Start<'_>) -> Result<(u64, String)> {
        self.write(Sync::Durable, |connection| {
            connection.execute_batch(LEASES)?;
            connection.execute_batch(COLLECTION)?;
            connection.execute("DELETE FROM protected", [])?;
            let set = |name, value: Option<&str>| query::set_setting(connection, name, value);
            let last = query::setting(connection, COLLECTIONS)?.and_then(|text| text.parse::<u64>().ok());
            let number = last.unwrap_or_default() + 1;
            set(COLLECTIONS, Some(&number.to_string()))?;
            set(COLLECTING, Some("1"))?;
            set(COLLECTOR_PROCESS, Some(&std::process::id().to_string()))?;
            let known = query::setting(connection, BOOT_CLOCK)?.and_then(|text| BootClock::parse(&text));
            if let Some(clock) = &start.clock
                && known.is_none_or(|known| known.boot != clock.boot)
            {
                set(BOOT_CLOCK, Some(&clock.to_string()))?;
            }
            let random = || connection.query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0));
            let id: String = start.id.map_or_else(random, |id| Ok(id.to_owned()))?;
            set(STORE_ID, Some(&id))?;
            if start.accept {
                set(ROOTS_LOST, None)?;
                set(ACCEPTED_INDEX, start.index.as_deref())?;
            }
            if start.take_back {
                set(FOREIGN_COLLECTOR, None)?;
            }
            connection.pragma_update_and_check(None, AUTOCHECKPOINT, 250, |_| Ok(()))?;
            Ok((number, id))
        })
    }

    /// Change all settings or none. On return the change survives a power loss. Waits for other processes.
    pub fn set_settings(&self, settings: &[(&str, String)]) -> Result<()> {
        self.write(Sync::Durable, |connection| {
            settings.iter().try_for_each(|(name, value)| query::set_setting(connection, name, Some(value)))
        })
    }

    /// The clocks at the first collection of the latest boot in which there was one.
    pub fn boot_clock(&self) -> Result<Option<BootClock>> {
        Ok(self.setting(BOOT_CLOCK)?.and_then(|text| BootClock::parse(&text)))
    }

    /// The process that began the latest collection.
    pub fn collector_process(&self) -> Result<Option<String>> {
        self.setting(COLLECTOR_PROCESS)
    }

    /// End the collection with this number, unless a later one has begun. If the end cannot be written, the next collection writes it.
    pub fn end_collection(&self, number: u64) {
        let run = |connection: &Connection| {
            if is_latest(connection, number)? {
                query::set_setting(connection, COLLECTING, None)?;
                connection.execute("DELETE FROM protected", [])?;
            }
            connection.pragma_update_and_check(None, AUTOCHECKPOINT, 1000, |_| Ok(()))
        };
        self.write_spare(Sync::Cheap, run).ok();
    }

    /// Return at most `most` image names after `name`, in order.
    pub fn images_after(&self, name: &str, most: usize) -> Result<Vec<Image>> {
        self.read(|connection| images::after(connection, name, most))?.ok_or_else(|| self.corrupt())
    }

    /// Return at most `most` blobs with the label `gc.root`, with all their labels, after this value and digest.
    pub fn roots_after(&self, after: &(String, String), most: usize) -> Result<Vec<(String, Digest, Labels)>> {
        let sql = "SELECT labels.value, blobs.digest, blobs.labels FROM labels
                   CROSS JOIN blobs ON blobs.digest = labels.digest
                   WHERE labels.key = ?1 AND (labels.value, labels.digest) > (?2, ?3)
                   ORDER BY labels.value, labels.digest LIMIT ?4";
        let ask = |connection: &Connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut found = Vec::new();
            let mut rows = statement.query(params![GC_ROOT, after.0, after.1, rows::whole(most as u64)])?;
            while let Some(row) = rows.next()? {
                let text: Option<String> = row.get(2)?;
                let labels = text.and_then(|text| crate::format::labels::decode(&text)).unwrap_or_default();
                found.push((row.get(0)?, digest_of(row, 1)?, labels));
            }
            Ok(found)
        };
        self.read(ask)?.ok_or_else(|| self.corrupt())
    }

    /// Return at most `most` blobs of a lease after `after`, in order.
    pub fn leased_after(&self, lease: &str, after: &str, most: usize) -> Result<Vec<Digest>> {
        let sql =
            "SELECT name FROM lease_resources WHERE lease = ?1 AND kind = ?2 AND name > ?3 ORDER BY name LIMIT ?4";
        let ask = |connection: &Connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![lease, BLOB, after, rows::whole(most as u64)])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(digest_of(row, 0)?);
            }
            Ok(found)
        };
        self.read(ask)?.ok_or_else(|| self.corrupt())
    }

    /// Return the known facts about the first blobs, at least one, in their order. Together these blobs name about `most` blobs. If a
    /// document names more, [`Self::edges_after`] returns the rest.
    pub fn known(&self, digests: &[Digest], with_notes: bool, most: usize) -> Result<Vec<Known>> {
        let ask = |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            let collecting = Collecting::find(&transaction)?;
            let (mut found, mut named) = (Vec::with_capacity(digests.len()), 0);
            for digest in digests {
                if named >= most {
                    break;
                }
                let mut known = Known { labels: references_of(&transaction, digest)?, ..Known::default() };
                if let Some(collecting) = &collecting {
                    known.document = collecting.document(digest, most)?;
                    known.is_cut = known.document.as_ref().is_some_and(|blobs| blobs.iter().flatten().count() == most);
                    known.note = if with_notes { note_of(&transaction, &digest.to_string())? } else { None };
                }
                named += known.document.iter().flatten().map(Vec::len).sum::<usize>();
                found.push(known);
            }
            transaction.commit()?;
            Ok(found)
        };
        self.read(ask)?.ok_or_else(|| self.corrupt())
    }

    /// Return at most `most` blobs that a document names, after the last one that was found.
    pub fn edges_after(&self, document: &Digest, last: &Reference, most: usize) -> Result<Vec<Reference>> {
        let ask = |connection: &Connection| Collecting { connection }.edges_after(document, Some(last), most);
        self.read(ask)?.ok_or_else(|| self.corrupt())
    }

    /// Return the digests of at most `most` notes after `after`, in order.
    pub fn notes_after(&self, after: &str, most: usize) -> Result<Vec<Digest>> {
        let ask = |connection: &Connection| {
            if Collecting::find(connection)?.is_none() {
                return Ok(Vec::new());
            }
            let mut statement = connection.prepare_cached(
                "SELECT digest FROM notes WHERE digest > ?1 AND digest NOT LIKE ?3 ORDER BY digest LIMIT ?2",
            )?;
            let mut rows = statement.query(params![after, rows::whole(most as u64), INGEST_NOTES])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(digest_of(row, 0)?);
            }
            Ok(found)
        };
        self.read(ask)?.ok_or_else(|| self.corrupt())
    }

    /// Return the refs that a lease protects.
    pub fn leased_ingests(&self, lease: &str) -> Result<Vec<String>> {
        let ask = |connection: &Connection| {
            let sql = "SELECT name FROM lease_resources WHERE lease = ?1 AND kind = ?2";
            connection.prepare_cached(sql)?.query_map([lease, INGEST], |row| row.get(0))?.collect()
        };
        self.read(ask)?.ok_or_else(|| self.corrupt())
    }

    /// Return the note of an ingest, given the name of its directory.
    pub fn ingest_note(&self, name: &str) -> Result<Option<Note>> {
        let ask = |connection: &Connection| {
            if Collecting::find(connection)?.is_none() {
                return Ok(None);
            }
            note_of(connection, &metadata::ingest_note(name))
        };
        self.read(ask)?.ok_or_else(|| self.corrupt())
    }

    /// Replace the notes of all ingests, each with the name of its directory. If another process writes for too long, the notes do not
    /// change.
    pub fn set_ingest_notes(&self, notes: &[(String, Note)]) -> Result<()> {
        let run = |connection: &Connection| {
            connection.execute("DELETE FROM notes WHERE digest LIKE ?1", [INGEST_NOTES])?;
            notes.iter().try_for_each(|(name, note)| put_note(connection, &metadata::ingest_note(name), note))
        };
        self.write_spare(Sync::Cheap, run).map(drop)
    }

    /// Write rows of the collection with this number, in their order. Returns `None`, without writing, while another process is writing.
    ///
    /// The removal of a note survives a power loss: writers rely on blobs without notes, so an old note must not come back.
    pub fn try_record(&self, number: u64, records: &[Record]) -> Result<Option<Checked<()>>> {
        let run = |connection: &Connection| {
            // A later collection may have removed edges that this one has written, so that the edges of a document would be incomplete.
            if !is_latest(connection, number)? {
                return Ok(Checked::Superseded);
            }
            let collecting = Collecting { connection };
            let written = records.iter().try_for_each(|record| match record {
                Record::Edge(document, reference) => collecting.add_edge(document, reference),
                Record::Document(document, is_whole) => collecting.add_document(document, *is_whole),
                Record::Note(digest, note) => put_note(connection, &digest.to_string(), note),
                Record::NoNote(digest) => remove_note(connection, digest),
            });
            written.map(Checked::Done)
        };
        let has_removal = records.iter().any(|record| matches!(record, Record::NoNote(_)));
        let sync = if has_removal { Sync::Durable } else { Sync::Cheap };
        self.try_write_unannounced(sync, &mut Some(run))
    }

    /// Do work of the collection with this number in a transaction, provided that no further blob has been protected since the log was
    /// read up to `seen`. Returns `None` while another process is writing.
    pub fn try_condemn<T>(
        &self,
        number: u64,
        seen: i64,
        work: impl FnOnce(&Condemning<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<Checked<T>>> {
        let run = |connection: &Connection| {
            if !is_latest(connection, number)? {
                return Ok(Checked::Superseded);
            }
            let (protected, last) = logged_after(connection, seen)?;
            if !protected.is_empty() {
                return Ok(Checked::Protected(protected, last));
            }
            work(&Condemning { connection }).map(Checked::Done)
        };
        self.try_write_unannounced(Sync::Cheap, &mut Some(run))
    }
}

/// The transaction in which blobs are condemned.
pub struct Condemning<'a> {
    connection: &'a Connection,
}

impl Condemning<'_> {
    /// The note of a blob.
    pub fn note_of(&self, digest: &Digest) -> rusqlite::Result<Option<Note>> {
        note_of(self.connection, &digest.to_string())
    }

    /// Remove all rows about a removed blob.
    pub fn forget(&self, digest: &Digest) -> rusqlite::Result<()> {
        remove_note(self.connection, digest)?;
        rows::forget(self.connection, digest)?;
        for sql in ["DELETE FROM edges WHERE document = ?1", "DELETE FROM documents WHERE digest = ?1"] {
            self.connection.prepare_cached(sql)?.execute([digest.to_string()])?;
        }
        Ok(())
    }
}

/// Whether no collection has begun after this one.
fn is_latest(connection: &Connection, number: u64) -> rusqlite::Result<bool> {
    Ok(query::setting(connection, COLLECTIONS)? == Some(number.to_string()))
}

/// The most entries of the log that are read at a time.
const MOST_LOGGED: usize = 512;

fn logged_after(connection: &Connection, seen: i64) -> rusqlite::Result<(Vec<String>, i64)> {
    let sql = "SELECT number, digest FROM protected WHERE number > ?1 ORDER BY number LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![seen, rows::whole(MOST_LOGGED as u64)])?;
    let (mut found, mut last) = (Vec::new(), seen);
    while let Some(row) = rows.next()? {
        last = row.get(0)?;
        found.push(row.get(1)?);
    }
    Ok((found, last))
}

fn note_of(connection: &Connection, key: &str) -> rusqlite::Result<Option<Note>> {
    let sql = "SELECT inode, mtime_ns, wall_ns, boot, boot_ns FROM notes WHERE digest = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        let inode = row.get::<_, i64>(0)?.cast_unsigned();
        Ok(Note { inode, mtime_ns: row.get(1)?, wall_ns: row.get(2)?, boot: row.get(3)?, boot_ns: row.get(4)? })
    };
    connection.prepare_cached(sql)?.query_row([key], read).optional()
}

fn put_note(connection: &Connection, key: &str, note: &Note) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO notes (digest, inode, mtime_ns, wall_ns, boot, boot_ns)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let Note { inode, mtime_ns, wall_ns, boot, boot_ns } = note;
    let values = params![key, inode.cast_signed(), mtime_ns, wall_ns, boot, boot_ns];
    connection.prepare_cached(sql)?.execute(values).map(drop)
}

fn remove_note(connection: &Connection, digest: &Digest) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM notes WHERE digest = ?1")?.execute([digest.to_string()]).map(drop)
}

/// The labels of a blob that name other blobs.
fn references_of(connection: &Connection, digest: &Digest) -> rusqlite::Result<Vec<(String, String)>> {
    let Some(row) = rows::get(connection, digest)? else { return Ok(Vec::new()) };
    let ours = row.labels.range(GC_REFERENCE.to_owned()..GC_REFERENCE_END.to_owned());
    let is_one = |key: &str| key[GC_REFERENCE.len()..].chars().next().is_none_or(|next| matches!(next, '.' | '/'));
    Ok(ours.filter(|(key, _)| is_one(key)).map(|(key, value)| (key.clone(), value.clone())).collect())
}
