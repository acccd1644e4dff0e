//! Rebuilding the file from its readable part and from the blobs on disk.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use rusqlite::Connection;

use super::connect;
use super::place::Place;
use super::rows::{self, Row};
use super::salvage::{Salvaged, salvage};
use super::state::State;
use super::{Meta, fault, schema};
use crate::digest::Digest;
use crate::error::{At, Result};
use crate::format::names::{META, META_NEW, META_SHM, META_WAL, SHM_SUFFIX, WAL_SUFFIX, beside, damaged_meta_name};
use crate::model::Labels;
use crate::sys::FileKind;

/// Receives one blob that is on disk, as a row without labels.
pub type Take<'a> = dyn FnMut(Row) -> Result<()> + 'a;

#[derive(Default)]
struct Report {
    /// Blobs whose row was kept.
    kept: u64,
    /// Blobs without a readable row in the old file.
    made: u64,
    /// Blobs of which only the labels could be read.
    relabelled: u64,
}

impl Meta {
    /// Rebuild the file, move the old one aside, and return readable lines that say what was kept and lost.
    ///
    /// `blobs` passes every blob on disk to its argument. The caller has exclusive access to the store; calls from other threads wait. A
    /// failure leaves the old file in its place, or moved aside without a replacement.
    pub fn rebuild(&self, blobs: impl FnOnce(&mut Take<'_>) -> Result<()>) -> Result<Vec<String>> {
        if self.mode.read_only {
            return Err(fault::refused(libc::EROFS, &self.path, "rebuild metadata"));
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // Closes a good file, so that SQLite merges its log into it.
        *state = State::Closed;
        let place = self.place();
        sweep(place);
        let name = connect::fresh_name(place);
        let mut lines = Vec::new();
        let result = connect::build(place, &name, |new| {
            let salvaged = salvage(place, new)?;
            let report = fill(place, new, &salvaged.orphans, blobs)?;
            schema::lose_roots(new).map_err(|error| fault::of_new(place.path, &error))?;
            lines = describe(&salvaged, &report);
            Ok(())
        });
        let moved = result.and_then(|()| put_in_place(place, &name));
        connect::discard(place, &name);
        *state = self.connect()?;
        if let Some(aside) = moved? {
            lines.push(format!("the old file is kept as {aside}"));
        }
        Ok(lines)
    }
}

/// Remove the files that crashed opens and rebuilds have left.
fn sweep(place: Place<'_>) {
    for entry in place.sys.list(place.dir).unwrap_or_default() {
        if entry.name.starts_with(META_NEW) {
            place.sys.unlink(place.dir, &entry.name).ok();
        }
    }
}

/// Give every blob on disk a row. Rows of missing blobs have no effect, and are kept: another thread may be about to publish such
/// a blob.
fn fill(
    place: Place<'_>,
    new: &Connection,
    orphans: &HashMap<Digest, Labels>,
    blobs: impl FnOnce(&mut Take<'_>) -> Result<()>,
) -> Result<Report> {
    let refused = |error: rusqlite::Error| fault::of_new(place.path, &error);
    let mut report = Report::default();
    blobs(&mut |mut blob: Row| {
        if let Some(known) = rows::get(new, &blob.digest).map_err(refused)? {
            report.kept += 1;
            if known.size == blob.size {
                return Ok(());
            }
            blob = Row { size: blob.size, ..known };
        } else {
            report.made += 1;
            if let Some(labels) = orphans.get(&blob.digest) {
                report.relabelled += 1;
                blob.labels = Arc::new(labels.clone());
            }
        }
        rows::put(new, &blob).map_err(refused)
    })?;
    Ok(report)
}

/// Move the old file and its log aside and the new one into its place; return the name of the old one, if there was one.
fn put_in_place(place: Place<'_>, name: &str) -> Result<Option<String>> {
    let Place { sys, dir, path } = place;
    let aside = name_aside(place)?;
    let log = place.stat(META_WAL)?.is_some();
    // The log is moved first: SQLite would apply it to any file with this name.
    for (from, suffix) in [(META_WAL, WAL_SUFFIX), (META_SHM, SHM_SUFFIX)] {
        if place.stat(from)?.is_some() {
            // DURABILITY: a power cut from here on leaves the old file without its log, which was moved aside.
            sys.rename(dir, from, dir, &beside(&aside, suffix), false).at("rename metadata", || path)?;
        }
    }
    if log {
        // DURABILITY: a power cut must not restore the old log beside the new file.
        sys.sync_dir(dir).at("sync directory", || path)?;
    }
    let old = place.stat(META)?;
    match old.map(|stat| stat.kind) {
        // DURABILITY: the file gets a second name, so that a power cut never leaves a store without its file.
        Some(FileKind::File) => sys.link(dir, META, dir, &aside).at("link metadata", || path)?,
        // DURABILITY: only a regular file can have two names; a power cut here leaves nothing in its place.
        Some(_) => sys.rename(dir, META, dir, &aside, false).at("rename metadata", || path)?,
        None => {}
    }
    // DURABILITY: the new file is synced; a power cut leaves the old or the new one under the name.
    sys.rename(dir, name, dir, META, true).at("rename metadata", || path)?;
    sys.sync_dir(dir).at("sync directory", || path)?;
    Ok((old.is_some() || log).then_some(aside))
}

/// Return a name for the old file that neither a file nor a log has yet.
fn name_aside(place: Place<'_>) -> Result<String> {
    let mut number = 1;
    loop {
        let aside = damaged_meta_name(number);
        if place.stat(&aside)?.is_none() && place.stat(&beside(&aside, WAL_SUFFIX))?.is_none() {
            return Ok(aside);
        }
        number += 1;
    }
}

fn describe(salvaged: &Salvaged, report: &Report) -> Vec<String> {
    let mut lines = vec![format!(
        "kept what was known of {} blobs, made rows for {} others",
        report.kept + report.relabelled,
        report.made - report.relabelled
    )];
    if report.relabelled > 0 {
        lines.push(format!(
            "of {} blobs only the labels were left; their times are those of their files",
            report.relabelled
        ));
    }
    if salvaged.images > 0 {
        lines.push(format!("kept {} image names", salvaged.images));
    }
    if salvaged.lost_images {
        lines.push("lost image names: some of the old file's could not be read".to_owned());
    }
    if salvaged.lost_leases {
        lines.push("lost leases: some of the old file's could not be read".to_owned());
    }
    if !salvaged.opened {
        lines.push(
            "lost all labels and image names, and when blobs were verified: nothing of an old file could be read"
                .to_owned(),
        );
    } else if salvaged.gaps > 0 {
        lines.push(format!(
            "lost the labels, if any, of blobs in {} parts of the old file that could not be read",
            salvaged.gaps
        ));
    } else if !salvaged.lost_images && !salvaged.lost_leases {
        lines.push("lost nothing: all of the old file could be read".to_owned());
    }
    lines
}
