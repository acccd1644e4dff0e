//! Copying the readable part of a damaged file into a new one.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::connect;
use super::place::Place;
use super::rows::{self, COLUMNS};
use super::{copy, fault, images, leases};
use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::format::metadata::LEASES;
use crate::model::Labels;

/// The result of a salvage.
#[derive(Default)]
pub(super) struct Salvaged {
    /// Whether anything of the file could be opened.
    pub opened: bool,
    /// Parts of the file, and single rows, that could not be read.
    pub gaps: u64,
    /// Image names that were read.
    pub images: u64,
    /// Whether image names may have been lost.
    pub lost_images: bool,
    /// Whether there may have been leases, or resources of them, that were not read.
    pub lost_leases: bool,
    /// Labels from the index, of blobs whose row could not be read.
    pub orphans: HashMap<Digest, Labels>,
}

/// Copy the rows and settings of the old file, as far as they can be read, into the new database.
pub(super) fn salvage(place: Place<'_>, new: &Connection) -> Result<Salvaged> {
    let name = connect::fresh_name(place);
    let result = copy::make(place, &name).and_then(|copied| {
        let old = if copied { copy::open(place, &name)? } else { None };
        let Some(old) = old else {
            return Ok(Salvaged::default());
        };
        let mut salvage = Salvage { place, old: &old, new, found: Salvaged::default() };
        salvage.run()?;
        Ok(salvage.found)
    });
    connect::discard(place, &name);
    result
}

/// Errors of the old file only leave gaps; errors of the new file end the salvage.
struct Salvage<'a> {
    place: Place<'a>,
    old: &'a Connection,
    new: &'a Connection,
    found: Salvaged,
}

impl Salvage<'_> {
    fn run(&mut self) -> Result<()> {
        self.found.opened = true;
        for algorithm in Algorithm::ALL {
            // The file is read in parts, each from both ends, so that a damaged page only costs the rows on it and few others.
            for first in 0..=u8::MAX {
                let from = format!("{algorithm}:{first:02x}");
                if !self.read_part(&from, "ASC")? {
                    self.found.gaps += 1;
                    self.read_part(&from, "DESC")?;
                }
            }
        }
        if self.found.gaps > 0 {
            self.read_orphans("ASC")?;
            self.read_orphans("DESC")?;
        }
        self.read_images()?;
        self.read_leases()?;
        self.read_settings()
    }

    /// Copy the image names from both ends, as far as they can be read.
    fn read_images(&mut self) -> Result<()> {
        match images::is_kept(self.old) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return copy::damage_only(self.place, &error),
        }
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT {} FROM images ORDER BY name {order}", images::COLUMNS);
            let (new, place) = (self.new, self.place);
            let refused = |error: rusqlite::Error| fault::of_new(place.path, &error);
            let (mut read, mut gaps) = (0, 0);
            let ended = self.each(&sql, &[], |row| {
                let Ok(image) = images::read(row) else {
                    gaps += 1;
                    return Ok(());
                };
                if images::get(new, &image.name).map_err(refused)?.is_none() {
                    images::put(new, &image).map_err(refused)?;
                    read += 1;
                }
                Ok(())
            })?;
            self.found.images += read;
            self.found.lost_images |= gaps > 0 || !ended;
            if ended {
                break;
            }
        }
        Ok(())
    }

    /// Copy the leases and their resources from both ends, as far as they can be read.
    fn read_leases(&mut self) -> Result<()> {
        match leases::Leases::find(self.old) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) => return copy::damage_only(self.place, &error),
        }
        let (new, place) = (self.new, self.place);
        let refused = |error: rusqlite::Error| fault::of_new(place.path, &error);
        new.execute_batch(LEASES).map_err(refused)?;
        let resource = "INSERT OR IGNORE INTO lease_resources (lease, kind, name) VALUES (?1, ?2, ?3)";
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT {} FROM leases ORDER BY id {order}", leases::COLUMNS);
            let leases = self.each(&sql, &[], |row| match leases::read(row) {
                Ok(row) => leases::put(new, &row).map_err(refused),
                Err(_) => Ok(()),
            })?;
            let sql = format!(
                "SELECT lease, kind, name FROM lease_resources ORDER BY lease {order}, kind {order}, name {order}"
            );
            let resources = self.each(&sql, &[], |row| {
                let Ok((lease, kind, name)) = <(String, String, String)>::try_from(row) else { return Ok(()) };
                new.execute(resource, params![lease, kind, name]).map(drop).map_err(refused)
            })?;
            self.found.lost_leases |= !(leases && resources);
            if leases && resources {
                break;
            }
        }
        Ok(())
    }

    /// Copy the rows of one part until its end or the first damaged page. Returns whether the end was reached.
    fn read_part(&mut self, from: &str, order: &str) -> Result<bool> {
        let sql = format!("SELECT {COLUMNS} FROM blobs WHERE digest >= ?1 AND digest < ?2 ORDER BY digest {order}");
        let to = format!("{from}~");
        let (new, place) = (self.new, self.place);
        let refused = |error: rusqlite::Error| fault::of_new(place.path, &error);
        let mut gaps = 0;
        let ended = self.each(&sql, &[from, &to], |row| {
            let Ok(row) = rows::Reader::default().read(row) else {
                gaps += 1;
                return Ok(());
            };
            // From the other end, some rows are read again.
            if rows::get(new, &row.digest).map_err(refused)?.is_none() {
                rows::put(new, &row).map_err(refused)?;
            }
            Ok(())
        })?;
        self.found.gaps += gaps;
        Ok(ended)
    }

    /// Collect from the index the labels of blobs whose row was not read.
    fn read_orphans(&mut self, order: &str) -> Result<()> {
        let sql = format!("SELECT key, value, digest FROM labels ORDER BY key {order}, value {order}, digest {order}");
        let (new, place) = (self.new, self.place);
        let mut orphans = std::mem::take(&mut self.found.orphans);
        self.each(&sql, &[], |row| {
            let Ok((key, value, digest)) = <(String, String, String)>::try_from(row) else {
                return Ok(());
            };
            let Ok(digest) = Digest::parse(&digest) else {
                return Ok(());
            };
            if rows::get(new, &digest).map_err(|error| fault::of_new(place.path, &error))?.is_none() {
                orphans.entry(digest).or_default().insert(key, value);
            }
            Ok(())
        })?;
        self.found.orphans = orphans;
        Ok(())
    }

    fn read_settings(&mut self) -> Result<()> {
        let (new, place) = (self.new, self.place);
        let insert = "INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)";
        let ended = self.each("SELECT name, value FROM settings", &[], |row| {
            if let Ok((name, value)) = <(String, String)>::try_from(row) {
                new.execute(insert, params![name, value]).map_err(|error| fault::of_new(place.path, &error))?;
            }
            Ok(())
        })?;
        self.found.gaps += u64::from(!ended);
        Ok(())
    }

    /// Pass each row of a query on the old file to `take`, until the end or the first damage. Returns whether the end was reached.
    fn each(&self, sql: &str, values: &[&str], mut take: impl FnMut(&rusqlite::Row<'_>) -> Result<()>) -> Result<bool> {
        let damaged = |error: &rusqlite::Error| copy::damage_only(self.place, error).map(|()| false);
        let mut statement = match self.old.prepare_cached(sql) {
            Ok(statement) => statement,
            Err(error) => return damaged(&error),
        };
        let mut found = match statement.query(rusqlite::params_from_iter(values)) {
            Ok(found) => found,
            Err(error) => return damaged(&error),
        };
        loop {
            match found.next() {
                Ok(Some(row)) => take(row)?,
                Ok(None) => return Ok(true),
                Err(error) => return damaged(&error),
            }
        }
    }
}
