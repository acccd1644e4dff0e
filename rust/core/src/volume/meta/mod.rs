//! `meta.db`: labels, their times, and facts that are cheap to keep and expensive to compute again.
//!
//! Only the files say which blobs exist. A row whose blob has no file has no effect; a blob without a row has no labels.
//! So the metadata never makes a blob inaccessible: if `meta.db` is missing, damaged or unreadable, reads find no labels, and
//! only calls that would set labels fail. The module never repairs, moves or overwrites a file by itself.

mod access;
mod collect;
mod collection;
mod connect;
mod copy;
mod fault;
mod images;
mod leases;
mod place;
mod query;
mod rebuild;
mod reopen;
mod rows;
mod salvage;
mod schema;
mod state;
mod wal;
mod writer;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Arc, RwLock};

use rusqlite::Connection;

use self::place::Place;
use self::state::State;
use self::writer::Sync;
use crate::digest::Digest;
use crate::error::{At, Result};
use crate::format::names::META;
use crate::model::Image;
use crate::sys::{Fd, Sys, sqlite};
use crate::volume::lock::Locks;
use crate::waiting::Patience;

pub use crate::format::metadata::LARGE;
pub use collect::Noted;
pub use collection::{Checked, Condemning, Known, Note, Record, Start};
pub use images::Names;
pub use leases::{LeaseRow, Leases};
pub use query::MOST_PAIRS;
pub use rebuild::Take;
pub use rows::Row;
/// The version of the SQLite that is compiled in.
pub use rusqlite::version as sqlite_version;
pub use schema::sqlite_is_fixed;

/// The way in which a store uses its metadata.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Nothing is written, made or locked.
    pub read_only: bool,
    /// Whether durable writes are synced.
    pub durable: bool,
    /// The origin of the store, which decides whether a missing file was lost.
    pub origin: Origin,
}

/// The origin of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This open creates the store: if the file is missing, nothing was lost.
    New,
    /// This open creates the store from blobs of another program: if the file is missing, nothing was lost, but the names of these blobs
    /// are in another place.
    Adopted,
    /// An earlier open has created the store: if the file is missing, it was lost.
    Old,
}

/// The metadata of a store. Its methods may be called from any thread.
pub struct Meta {
    sys: Arc<dyn Sys>,
    locks: Locks,
    dir: Fd,
    path: PathBuf,
    mode: Mode,
    state: RwLock<State>,
}

impl Meta {
    /// Open the metadata in the directory `dir`, whose absolute path is `root`. This succeeds even if the file is damaged.
    ///
    /// Returns readable notes, for example that labels are lost or cannot be read.
    ///
    /// # Panics
    ///
    /// If the SQLite that was linked has the fault of [`sqlite_is_fixed`].
    pub fn open(
        sys: Arc<dyn Sys>,
        locks: Locks,
        dir: &impl AsFd,
        root: &Path,
        mode: Mode,
    ) -> Result<(Self, Vec<String>)> {
        let version = rusqlite::version_number();
        assert!(sqlite_is_fixed(version), "SQLite {} can corrupt a log; it must not be linked", rusqlite::version());
        let dir = Fd::from(dir.as_fd().try_clone_to_owned().at("dup", || root)?);
        sqlite::install();
        let path = root.join(META);
        let meta = Self { sys, locks, dir, path, mode, state: RwLock::new(State::Closed) };
        let mut notes = Vec::new();
        let mut state = meta.connect()?;
        if matches!(state, State::Absent) && !mode.read_only {
            if connect::create(meta.place(), mode.origin == Origin::New)? && mode.origin == Origin::Old {
                notes.push(fault::missing_note(&meta.path));
            }
            state = meta.connect()?;
        }
        if let State::Damaged(reason) = &state {
            notes.push(fault::damage_note(&meta.path, reason));
        }
        meta.set_state(state);
        Ok((meta, notes))
    }

    /// Return a description of the file's damage, for people, if damage was found.
    pub fn damage(&self) -> Option<String> {
        match &*self.state() {
            State::Damaged(reason) => Some(fault::damage_note(&self.path, reason)),
            _ => None,
        }
    }

    /// Close the file. Later calls fail.
    pub fn close(&self) {
        self.set_state(State::Closed);
    }

    /// Return a blob's row.
    pub fn get(&self, digest: &Digest) -> Result<Option<Row>> {
        Ok(self.read(|connection| rows::get(connection, digest))?.flatten())
    }

    /// Return the rows of the digests, in their order; `None` for a digest without a row.
    pub fn get_many(&self, digests: &[Digest]) -> Result<Vec<Option<Row>>> {
        let found = self.read(|connection| query::get_many(connection, digests))?;
        Ok(found.unwrap_or_else(|| vec![None; digests.len()]))
    }

    /// Return the rows from `first` to `last`, both included, ordered by digest.
    pub fn range(&self, first: &Digest, last: &Digest) -> Result<Vec<Row>> {
        Ok(self.read(|connection| query::range(connection, first, last))?.unwrap_or_default())
    }

    /// Fail if labels cannot be read because the file is damaged: "no label" would be a wrong answer.
    pub fn check_labels_readable(&self) -> Result<()> {
        if self.damage().is_some() { Err(self.corrupt()) } else { Ok(()) }
    }

    /// Return at most `most` rows after `after` that have one of the labels, ordered by digest.
    ///
    /// At most [`MOST_PAIRS`] labels may be given.
    pub fn labelled(&self, pairs: &[(String, String)], after: Option<&Digest>, most: usize) -> Result<Vec<Row>> {
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.read(|connection| query::labelled(connection, pairs, after, most))?.unwrap_or_default())
    }

    /// Whether a blob of this size may be stored: a hint. Always true below [`LARGE`], and if it is unknown.
    pub fn has_size(&self, size: u64) -> Result<bool> {
        if size < LARGE {
            return Ok(true);
        }
        Ok(self.read(|connection| query::has_size(connection, size))?.unwrap_or(true))
    }

    /// Return the digests of blobs of this size, at most `most`; none below [`LARGE`], and none if they are unknown.
    pub fn of_size(&self, size: u64, most: usize) -> Result<Vec<Digest>> {
        if size < LARGE {
            return Ok(Vec::new());
        }
        let names = self.read(|connection| query::of_size(connection, size, most))?.unwrap_or_default();
        Ok(names.iter().filter_map(|name| Digest::parse(name).ok()).collect())
    }

    /// Insert a row, or replace all of it except for the time of verification; on return the row survives a power loss. Returns `None`,
    /// without writing, while another process is writing.
    pub fn try_put(&self, row: &Row) -> Result<Option<()>> {
        self.try_put_many(slice::from_ref(row))
    }

    /// Write rows as `try_put` does, all in one transaction.
    pub fn try_put_many(&self, rows: &[Row]) -> Result<Option<()>> {
        if rows.is_empty() {
            return Ok(Some(()));
        }
        let run = |connection: &Connection| rows.iter().try_for_each(|row| rows::put(connection, row));
        self.try_write(Sync::Durable, &mut Some(run))
    }

    /// Make a single attempt to write a row as `try_put` does. So no collection waits for the caller, which holds a lock.
    pub fn correct(&self, row: &Row) {
        self.try_write_unannounced(Sync::Durable, &mut Some(|connection: &Connection| rows::put(connection, row))).ok();
    }

    /// Write a row as `try_put` does, and wait for other processes. The caller holds no lock.
    pub fn put(&self, row: &Row) -> Result<()> {
        Patience::until(|| self.try_put(row))
    }

    /// Write the rows of blobs that have no row and no labels. Their loss only costs time, so a failure is not an error. The caller
    /// holds no lock.
    pub fn remember(&self, rows: &[Row]) {
        if self.may_remember(rows) {
            self.write_spare(Sync::Cheap, |connection| rows::put_missing(connection, rows)).ok();
        }
    }

    /// Write missing rows as `remember` does. Returns false, without writing, while another process is writing.
    pub fn try_remember(&self, rows: &[Row]) -> bool {
        let run = |connection: &Connection| rows::put_missing(connection, rows);
        !self.may_remember(rows) || !matches!(self.try_write(Sync::Cheap, &mut Some(run)), Ok(None))
    }

    fn may_remember(&self, rows: &[Row]) -> bool {
        !rows.is_empty() && !self.mode.read_only && self.damage().is_none()
    }

    /// Return for each digest whether it has a row. The row may belong to an earlier blob whose file was removed.
    pub fn have_rows(&self, digests: &[Digest]) -> Result<Vec<bool>> {
        let found = self.read(|connection| query::have_rows(connection, digests))?;
        Ok(found.unwrap_or_else(|| vec![false; digests.len()]))
    }

    /// Write the rows of new blobs, under the locks of their digests and before their files get their names. Rows are needed for blobs
    /// that have labels, and for blobs that already have a row, which belongs to an earlier blob.
    ///
    /// On return the rows are durable, in one transaction, and have replaced the earlier ones: after any crash, a name never appears
    /// without its labels or with those of another blob. Returns `None`, without writing, while another process is writing.
    pub fn try_before_publish(&self, rows: &[Row]) -> Result<Option<()>> {
        if rows.is_empty() {
            return Ok(Some(()));
        }
        let run = |connection: &Connection| {
            rows.iter().try_for_each(|row| {
                rows::forget(connection, &row.digest)?;
                rows::put(connection, row)
            })
        };
        self.try_write(Sync::Durable, &mut Some(run))
    }

    /// Remove the rows of deleted blobs in one transaction; on return the removal survives a power loss.
    ///
    /// Call this after the files have been removed, which already deletes the blobs, so that a full disk cannot prevent a deletion.
    /// Returns `None`, without writing, while another process is writing.
    pub fn try_forget(&self, digests: &[Digest]) -> Result<Option<()>> {
        if self.damage().is_some() || !self.read(|connection| query::has_row(connection, digests))?.unwrap_or_default()
        {
            return Ok(Some(()));
        }
        let run = |connection: &Connection| digests.iter().try_for_each(|digest| rows::forget(connection, digest));
        self.try_write(Sync::Durable, &mut Some(run))
    }

    /// Record the time at which blobs were last found undamaged, in their rows, or in new rows for blobs that have none. The record is
    /// not synced: if a power loss removes it, the blobs are verified once more. The same happens if another process writes for too long.
    pub fn set_verified(&self, blobs: &[Row], at_ns: i64) -> Result<()> {
        let run = |connection: &Connection| {
            rows::put_missing(connection, blobs)?;
            rows::set_verified(connection, blobs, at_ns)
        };
        self.write_spare(Sync::Cheap, run).map(drop)
    }

    /// Return the image of a name.
    pub fn image(&self, name: &str) -> Result<Option<Image>> {
        self.images_of(|connection| images::get(connection, name))
    }

    /// Return all image names, in order.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.images_of(images::all)
    }

    /// Query names. A damaged file is an error, because "no name" would be a wrong answer.
    fn images_of<T: Default>(&self, run: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let found = self.read(run)?;
        self.check_labels_readable()?;
        Ok(found.unwrap_or_default())
    }

    /// Change image names in one transaction; on return the change survives a power loss. If `run` refuses, nothing changes.
    pub fn change_images<T>(&self, run: impl FnOnce(&mut Names<'_>) -> rusqlite::Result<Result<T>>) -> Result<T> {
        self.write(Sync::Durable, |connection| {
            let mut names = Names::new(connection);
            let result = run(&mut names)?;
            if result.is_ok() {
                names.finish()?;
            }
            Ok(result)
        })?
    }

    /// Return a setting.
    pub fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok(self.read(|connection| query::setting(connection, name))?.flatten())
    }

    /// Change a setting, or remove it with `None`. Returns whether that was done; the change then survives a power loss. If another process
    /// writes for too long, nothing changes: these settings only save time.
    pub fn set_setting(&self, name: &str, value: Option<&str>) -> Result<bool> {
        let done = self.write_spare(Sync::Durable, |connection| query::set_setting(connection, name, value))?;
        Ok(done.is_some())
    }

    /// Its path in messages.
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn place(&self) -> Place<'_> {
        Place { sys: &*self.sys, dir: self.dir.as_fd(), path: &self.path }
    }
}
