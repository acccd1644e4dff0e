//! Queries of many rows, each answered from one state of the file.

use std::fmt::Write;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::rows::{self, COLUMNS, Row};
use crate::digest::Digest;

/// The most label pairs of one indexed query; a filter with more walks the whole store.
pub const MOST_PAIRS: usize = 100;

/// Return the rows of the digests, in their order; `None` for a digest without a row.
pub(super) fn get_many(connection: &Connection, digests: &[Digest]) -> rusqlite::Result<Vec<Option<Row>>> {
    // One transaction reads one state of the file, and costs one lock instead of one per row.
    let transaction = connection.unchecked_transaction()?;
    let mut reader = rows::Reader::default();
    let mut get = |digest| rows::get_with(&mut reader, &transaction, digest);
    let rows = digests.iter().map(&mut get).collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(rows)
}

/// Return for each digest whether it has a row.
pub(super) fn have_rows(connection: &Connection, digests: &[Digest]) -> rusqlite::Result<Vec<bool>> {
    let transaction = connection.unchecked_transaction()?;
    let found = rows_there(&transaction, digests)?;
    transaction.commit()?;
    Ok(found)
}

/// Whether one of the digests has a row.
pub(super) fn has_row(connection: &Connection, digests: &[Digest]) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?;
    for digest in digests {
        if statement.exists([digest.to_string()])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Return for each digest whether it has a row. The caller holds the transaction.
pub(super) fn rows_there(transaction: &Connection, digests: &[Digest]) -> rusqlite::Result<Vec<bool>> {
    let mut statement = transaction.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?;
    digests.iter().map(|digest| statement.exists([digest.to_string()])).collect()
}

/// Return the rows from `first` to `last`, both included, ordered by digest.
pub(super) fn range(connection: &Connection, first: &Digest, last: &Digest) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM blobs WHERE digest BETWEEN ?1 AND ?2 ORDER BY digest"))?;
    let mut reader = rows::Reader::default();
    statement.query_map([first.to_string(), last.to_string()], |row| reader.read(row))?.collect()
}

/// Return at most `most` rows after `after` that have one of the labels, ordered by digest.
pub(super) fn labelled(
    connection: &Connection,
    pairs: &[(String, String)],
    after: Option<&Digest>,
    most: usize,
) -> rusqlite::Result<Vec<Row>> {
    debug_assert!(!pairs.is_empty() && pairs.len() <= MOST_PAIRS, "the caller keeps to the limit");
    let mut statement = connection.prepare_cached(&labelled_by(pairs.len()))?;
    let after = after.map_or_else(String::new, ToString::to_string);
    let mut values = vec![Value::Text(after), Value::Integer(rows::whole(most as u64))];
    for (key, value) in pairs {
        values.push(Value::Text(key.clone()));
        values.push(Value::Text(value.clone()));
    }
    let mut reader = rows::Reader::default();
    statement.query_map(params_from_iter(values), |row| reader.read(row))?.collect()
}

/// Return the query for the rows that have one of `pairs` labels.
fn labelled_by(pairs: usize) -> String {
    if pairs == 1 {
        // The index is already in order.
        return format!(
            "SELECT {COLUMNS} FROM labels CROSS JOIN blobs ON blobs.digest = labels.digest
             WHERE labels.key = ?3 AND labels.value = ?4 AND labels.digest > ?1 ORDER BY labels.digest LIMIT ?2"
        );
    }
    // Every branch reads the index in order of digest and SQLite merges them, so that a step reads about `most` rows.
    let mut union = String::new();
    for number in 0..pairs {
        let (key, value) = (number * 2 + 3, number * 2 + 4);
        let join = if number == 0 { "" } else { " UNION " };
        // Writing to a string cannot fail.
        let _ =
            write!(union, "{join}SELECT digest FROM labels WHERE key = ?{key} AND value = ?{value} AND digest > ?1");
    }
    format!(
        "SELECT {COLUMNS} FROM ({union} ORDER BY digest LIMIT ?2) AS found
         CROSS JOIN blobs ON blobs.digest = found.digest ORDER BY found.digest"
    )
}

/// Whether there is a row of that size.
pub(super) fn has_size(connection: &Connection, size: u64) -> rusqlite::Result<bool> {
    // The constant condition lets SQLite use the partial index.
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM blobs WHERE size = ?1 AND size >= 8388608)")?
        .query_row([rows::whole(size)], |row| row.get(0))
}

/// Return the digests of at most `most` blobs of that size.
pub(super) fn of_size(connection: &Connection, size: u64, most: usize) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare_cached("SELECT digest FROM blobs WHERE size = ?1 AND size >= 8388608 LIMIT ?2")?
        .query_map([rows::whole(size), rows::whole(most as u64)], |row| row.get(0))?
        .collect()
}

/// Return a setting.
pub(super) fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// Change or, with None, remove a setting.
pub(super) fn set_setting(connection: &Connection, name: &str, value: Option<&str>) -> rusqlite::Result<()> {
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)")?
            .execute(params![name, value])?,
        None => connection.prepare_cached("DELETE FROM settings WHERE name = ?1")?.execute([name])?,
    };
    Ok(())
}
