//! Image names: mutable names for descriptors. The caller holds the transaction.
//!
//! Unlike a blob's row, a name's row is the only record of it: no file has the same information.

use std::collections::BTreeMap;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows;
use crate::digest::Digest;
use crate::format::labels;
use crate::model::{Image, Labels, Target};

/// The columns that [`read`] expects.
pub(super) const COLUMNS: &str = "name, digest, size, media_type, annotations, created_ns, updated_ns, labels";

/// Whether the file has the table. A file of version 1 that is open read-only does not.
pub(super) fn is_kept(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'images')")?
        .query_row([], |row| row.get(0))
}

/// Read a row of [`COLUMNS`]. An invalid value is a conversion error, which counts as damage.
pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Image> {
    let text = row.get_ref(1)?.as_str().map_err(|error| garbage(1, error.to_string()))?;
    let digest = Digest::parse(text).map_err(|error| garbage(1, error.to_string()))?;
    let size = row.get::<_, Option<i64>>(2)?.map(u64::try_from).transpose();
    let size = size.map_err(|error| garbage(2, error.to_string()))?;
    let target = Target { digest, size, media_type: row.get(3)?, annotations: labels(row, 4)? };
    Ok(Image { name: row.get(0)?, target, created_ns: row.get(5)?, updated_ns: row.get(6)?, labels: labels(row, 7)? })
}

fn labels(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Labels> {
    match row.get_ref(column)?.as_str_or_null().map_err(|error| garbage(column, error.to_string()))? {
        None => Ok(Labels::new()),
        Some(text) => labels::decode(text).ok_or_else(|| garbage(column, "labels that are not JSON".to_owned())),
    }
}

fn garbage(column: usize, reason: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}

/// Return the image of a name.
pub(super) fn get(connection: &Connection, name: &str) -> rusqlite::Result<Option<Image>> {
    if !is_kept(connection)? {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM images WHERE name = ?1"))?;
    statement.query_row([name], read).optional()
}

/// Return all names, in order.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Image>> {
    if !is_kept(connection)? {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM images ORDER BY name"))?;
    statement.query_map([], read)?.collect()
}

/// Return at most `most` names after `name`, in order.
pub(super) fn after(connection: &Connection, name: &str, most: usize) -> rusqlite::Result<Vec<Image>> {
    if !is_kept(connection)? {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT {COLUMNS} FROM images WHERE name > ?1 ORDER BY name LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params![name, rows::whole(most as u64)], read)?.collect()
}

/// Insert a name, or replace its whole row.
pub(super) fn put(connection: &Connection, image: &Image) -> rusqlite::Result<()> {
    let text = |labels: &Labels| (!labels.is_empty()).then(|| labels::encode(labels));
    let target = &image.target;
    connection
        .prepare_cached(&format!("INSERT OR REPLACE INTO images ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"))?
        .execute(params![
            image.name,
            target.digest.to_string(),
            target.size.map(rows::whole),
            target.media_type,
            text(&target.annotations),
            image.created_ns,
            image.updated_ns,
            text(&image.labels),
        ])?;
    Ok(())
}

/// Remove a name.
pub(super) fn forget(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM images WHERE name = ?1")?.execute([name])?;
    Ok(())
}

/// The names within a transaction, with its own changes. The changes are written at the end if none was refused.
pub struct Names<'a> {
    connection: &'a Connection,
    changed: BTreeMap<String, Option<Image>>,
}

impl<'a> Names<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection, changed: BTreeMap::new() }
    }

    /// Return the image of a name, with the changes of this transaction.
    pub fn get(&self, name: &str) -> rusqlite::Result<Option<Image>> {
        match self.changed.get(name) {
            Some(image) => Ok(image.clone()),
            None => get(self.connection, name),
        }
    }

    /// Set a name to an image.
    pub fn put(&mut self, image: &Image) {
        self.changed.insert(image.name.clone(), Some(image.clone()));
    }

    /// Remove a name.
    pub fn remove(&mut self, name: &str) {
        self.changed.insert(name.to_owned(), None);
    }

    pub(super) fn finish(self) -> rusqlite::Result<()> {
        for (name, image) in &self.changed {
            match image {
                Some(image) => put(self.connection, image)?,
                None => forget(self.connection, name)?,
            }
        }
        Ok(())
    }
}
