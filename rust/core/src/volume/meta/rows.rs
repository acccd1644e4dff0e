//! One blob's row: reading it from SQL, and the statements that change it. The caller holds the transaction.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use crate::digest::Digest;
use crate::format::labels;
use crate::model::{Info, Labels};

/// The row of a blob in `meta.db`. Without the file of the blob, it has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The blob's name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When it was committed, in ns since the epoch.
    pub created_ns: i64,
    /// When its labels were last set, in ns since the epoch.
    pub updated_ns: i64,
    /// When its bytes were last found to match its name, in ns since the epoch.
    pub verified_ns: Option<i64>,
    /// Its labels. Rows that were read together share equal labels.
    pub labels: Arc<Labels>,
}

impl Row {
    /// Return the row of a blob without labels: all of it can be read from its file.
    pub fn plain(digest: Digest, size: u64, created_ns: i64) -> Self {
        Self { digest, size, created_ns, updated_ns: created_ns, verified_ns: None, labels: Arc::default() }
    }

    /// Return the info of the blob; `size` is the size of its file.
    pub fn into_info(self, size: u64) -> Info {
        Info {
            digest: self.digest,
            size,
            created_ns: self.created_ns,
            updated_ns: self.updated_ns,
            labels: self.labels,
        }
    }
}

/// The columns that [`read`] expects, of the table or alias `blobs`.
pub(super) const COLUMNS: &str =
    "blobs.digest, blobs.size, blobs.created_ns, blobs.updated_ns, blobs.verified_ns, blobs.labels";

/// Reads rows one after another. Many have the same labels, which are decoded only once.
#[derive(Default)]
pub(super) struct Reader {
    none: Arc<Labels>,
    seen: HashMap<String, Arc<Labels>>,
}

impl Reader {
    /// Read a row of [`COLUMNS`]. An invalid value is a conversion error, which counts as damage.
    pub fn read(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        let text = row.get_ref(0)?.as_str().map_err(|error| garbage(0, error.to_string()))?;
        let digest = Digest::parse(text).map_err(|error| garbage(0, error.to_string()))?;
        let size = u64::try_from(row.get::<_, i64>(1)?).map_err(|error| garbage(1, error.to_string()))?;
        let labels = match row.get_ref(5)?.as_str_or_null().map_err(|error| garbage(5, error.to_string()))? {
            None => Arc::clone(&self.none),
            Some(text) => self.labels(text).ok_or_else(|| garbage(5, format!("labels of {digest} are not JSON")))?,
        };
        Ok(Row { digest, size, created_ns: row.get(2)?, updated_ns: row.get(3)?, verified_ns: row.get(4)?, labels })
    }

    fn labels(&mut self, text: &str) -> Option<Arc<Labels>> {
        if let Some(labels) = self.seen.get(text) {
            return Some(Arc::clone(labels));
        }
        let labels = Arc::new(labels::decode(text)?);
        self.seen.insert(text.to_owned(), Arc::clone(&labels));
        Some(labels)
    }
}

fn garbage(column: usize, reason: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}

/// Return one blob's row.
pub(super) fn get(connection: &Connection, digest: &Digest) -> rusqlite::Result<Option<Row>> {
    get_with(&mut Reader::default(), connection, digest)
}

/// Return one of several rows, which are read by one reader.
pub(super) fn get_with(reader: &mut Reader, connection: &Connection, digest: &Digest) -> rusqlite::Result<Option<Row>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM blobs WHERE digest = ?1"))?;
    statement.query_row([digest.to_string()], |row| reader.read(row)).optional()
}

/// Insert a row, or replace all of it except for `verified_ns`. Also update the label index.
pub(super) fn put(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    let digest = row.digest.to_string();
    unindex(connection, &digest)?;
    let labels = (!row.labels.is_empty()).then(|| labels::encode(&row.labels));
    connection
        .prepare_cached(
            "INSERT INTO blobs (digest, size, created_ns, updated_ns, verified_ns, labels)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (digest) DO UPDATE SET
             size = ?2, created_ns = ?3, updated_ns = ?4, labels = ?6",
        )?
        .execute(params![digest, whole(row.size), row.created_ns, row.updated_ns, row.verified_ns, labels])?;
    let mut index =
        connection.prepare_cached("INSERT OR IGNORE INTO labels (key, value, digest) VALUES (?1, ?2, ?3)")?;
    for (key, value) in row.labels.iter() {
        index.execute([key, value, &digest])?;
    }
    Ok(())
}

/// Insert rows of blobs that have none. Existing rows, and so labels, do not change.
pub(super) fn put_missing(connection: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT OR IGNORE INTO blobs (digest, size, created_ns, updated_ns) VALUES (?1, ?2, ?3, ?4)")?;
    for row in rows {
        debug_assert!(row.labels.is_empty(), "labels are never cached, they are written durably");
        statement.execute(params![row.digest.to_string(), whole(row.size), row.created_ns, row.updated_ns])?;
    }
    Ok(())
}

/// Remove a blob's row and its labels.
pub(super) fn forget(connection: &Connection, digest: &Digest) -> rusqlite::Result<()> {
    let digest = digest.to_string();
    let mut statement = connection.prepare_cached("DELETE FROM blobs WHERE digest = ?1 RETURNING labels")?;
    let mut removed = statement.query([&digest])?;
    while let Some(row) = removed.next()? {
        if let Some(labels) = row.get::<_, Option<String>>(0)? {
            remove_from_index(connection, &digest, &labels)?;
        }
    }
    Ok(())
}

/// Record the time at which blobs were last found undamaged. A blob without a row is skipped.
pub(super) fn set_verified(connection: &Connection, blobs: &[Row], at_ns: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE blobs SET verified_ns = ?2 WHERE digest = ?1")?;
    for blob in blobs {
        statement.execute(params![blob.digest.to_string(), at_ns])?;
    }
    Ok(())
}

/// Remove a blob's labels from the index. The index is ordered by label, so the blob's old labels are needed to find its entries.
fn unindex(connection: &Connection, digest: &str) -> rusqlite::Result<()> {
    let old: Option<Option<String>> = connection
        .prepare_cached("SELECT labels FROM blobs WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    old.flatten().map_or(Ok(()), |labels| remove_from_index(connection, digest, &labels))
}

fn remove_from_index(connection: &Connection, digest: &str, labels: &str) -> rusqlite::Result<()> {
    let labels = labels::decode(labels).ok_or_else(|| garbage(0, format!("labels of {digest} are not JSON")))?;
    let mut statement =
        connection.prepare_cached("DELETE FROM labels WHERE key = ?1 AND value = ?2 AND digest = ?3")?;
    for (key, value) in &labels {
        statement.execute([key.as_str(), value.as_str(), digest])?;
    }
    Ok(())
}

/// Convert a size to SQLite's signed integers. No file is larger than their maximum.
pub(super) fn whole(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
