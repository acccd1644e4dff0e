//! The records of collections, and the log in which writers inform a running collection. A file has these tables from its first
//! collection on; before that there is nothing to query.
//!
//! A **note** says when a collection first found that nothing keeps a blob. It is the only permission to remove the blob. So a
//! caller that is about to answer "already there" removes the note, and looks at the file after that.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Sync;
use super::{Meta, query, rows};
use crate::archive::json::{Reference, References, Role};
use crate::digest::Digest;
use crate::error::Result;
use crate::format::metadata::COLLECTING;

/// The facts that a caller must know before it reports a blob as stored, or stores it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The blobs that a collection has noted as garbage. [`Meta::try_protect`] must come before any look at their files.
    pub digests: Vec<Digest>,
    /// Whether a collection is in progress: a new document is then logged before it gets its name.
    pub is_under_way: bool,
}

impl Meta {
    /// Return a number that differs from an earlier one if the metadata has changed since.
    pub fn version(&self) -> Result<i64> {
        let version = self.read(|connection| connection.pragma_query_value(None, "data_version", |row| row.get(0)))?;
        Ok(version.unwrap_or_default())
    }

    /// Query the notes of blobs, and whether a collection is running.
    pub fn noted(&self, digests: &[Digest]) -> Result<Noted> {
        let ask = |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            let found = noted(&transaction, digests)?;
            transaction.commit()?;
            Ok(found)
        };
        Ok(self.read(ask)?.unwrap_or_default())
    }

    /// Return for each digest whether it has a row, as `have_rows` does, and query the notes in the same transaction.
    pub fn have_rows_and_notes(&self, digests: &[Digest]) -> Result<(Vec<bool>, Noted)> {
        let ask = |connection: &Connection| {
            let transaction = connection.unchecked_transaction()?;
            let found = (query::rows_there(&transaction, digests)?, noted(&transaction, digests)?);
            transaction.commit()?;
            Ok(found)
        };
        Ok(self.read(ask)?.unwrap_or_else(|| (vec![false; digests.len()], Noted::default())))
    }

    /// Remove the notes of blobs. Also log these blobs, and new documents with their references, for a collection in progress, before the
    /// documents get their names. All of this is one transaction. Returns `None`, without a change, while another process is writing.
    ///
    /// The removal of a note survives a power loss. A collection does not, so an entry of a document need not either.
    pub fn try_protect(&self, noted: &[Digest], documents: &[(Digest, References)]) -> Result<Option<()>> {
        if noted.is_empty() && documents.is_empty() {
            return Ok(Some(()));
        }
        let run = |connection: &Connection| {
            let Some(collecting) = Collecting::find(connection)? else { return Ok(()) };
            for (digest, references) in documents {
                references.blobs.iter().try_for_each(|reference| collecting.add_edge(digest, reference))?;
                collecting.add_document(digest, true)?;
                collecting.log(&[*digest])?;
            }
            collecting.unnote(noted)
        };
        let sync = if noted.is_empty() { Sync::Cheap } else { Sync::Durable };
        self.try_write(sync, &mut Some(run))
    }
}

/// Query the notes of blobs, and whether a collection is running. The caller holds the transaction.
pub(super) fn noted(transaction: &Connection, digests: &[Digest]) -> rusqlite::Result<Noted> {
    let mut found = Noted::default();
    if let Some(collecting) = Collecting::find(transaction)? {
        found.is_under_way = collecting.is_under_way()?;
        for digest in digests {
            if collecting.is_noted(digest)? {
                found.digests.push(*digest);
            }
        }
    }
    Ok(found)
}

/// The tables of collections within a transaction, which the caller holds.
pub(super) struct Collecting<'a> {
    pub connection: &'a Connection,
}

impl<'a> Collecting<'a> {
    /// The tables of a file; `None` if there has been no collection yet.
    pub fn find(connection: &'a Connection) -> rusqlite::Result<Option<Self>> {
        let kept: bool = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'protected')")?
            .query_row([], |row| row.get(0))?;
        Ok(kept.then_some(Self { connection }))
    }

    /// Whether a collection is in progress, or was when its process ended.
    pub fn is_under_way(&self) -> rusqlite::Result<bool> {
        self.connection.prepare_cached("SELECT 1 FROM settings WHERE name = ?1")?.exists([COLLECTING])
    }

    /// Whether there is a note of a blob, for this file or an earlier one.
    pub fn is_noted(&self, digest: &Digest) -> rusqlite::Result<bool> {
        self.connection.prepare_cached("SELECT 1 FROM notes WHERE digest = ?1")?.exists([digest.to_string()])
    }

    /// Remove the notes of blobs, and log the blobs for a collection in progress.
    pub fn unnote(&self, digests: &[Digest]) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("DELETE FROM notes WHERE digest = ?1")?;
        for digest in digests {
            statement.execute([digest.to_string()])?;
        }
        if self.is_under_way()? { self.log(digests) } else { Ok(()) }
    }

    /// Log for the running collection that blobs, and all blobs that they name, are protected from now on.
    pub fn log(&self, digests: &[Digest]) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached("INSERT OR IGNORE INTO protected (digest) VALUES (?1)")?;
        for digest in digests {
            statement.execute([digest.to_string()])?;
        }
        Ok(())
    }

    /// Record that a document names a blob.
    pub fn add_edge(&self, document: &Digest, reference: &Reference) -> rusqlite::Result<()> {
        let Reference { digest, role } = reference;
        let values = params![document.to_string(), digest.to_string(), number_of(*role)];
        let sql = "INSERT OR IGNORE INTO edges (document, blob, role) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute(values).map(drop)
    }

    /// Record that a document was read, after all its references. `is_whole` is false for a blob that is complete but not a valid document.
    pub fn add_document(&self, document: &Digest, is_whole: bool) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO documents (digest, whole) VALUES (?1, ?2)";
        self.connection.prepare_cached(sql)?.execute(params![document.to_string(), is_whole]).map(drop)
    }

    /// The first blobs that a document names, if it was read before. `Some(None)`: it is not a valid document.
    #[expect(clippy::option_option, reason = "unknown, and known to name nothing, are two answers")]
    pub fn document(&self, document: &Digest, most: usize) -> rusqlite::Result<Option<Option<Vec<Reference>>>> {
        let whole: Option<bool> = self
            .connection
            .prepare_cached("SELECT whole FROM documents WHERE digest = ?1")?
            .query_row([document.to_string()], |row| row.get(0))
            .optional()?;
        match whole {
            Some(true) => Ok(Some(Some(self.edges_after(document, None, most)?))),
            Some(false) => Ok(Some(None)),
            None => Ok(None),
        }
    }

    /// At most `most` blobs that a document names, after `last`, in the order of the table.
    pub fn edges_after(
        &self,
        document: &Digest,
        after: Option<&Reference>,
        most: usize,
    ) -> rusqlite::Result<Vec<Reference>> {
        let sql = "SELECT blob, role FROM edges WHERE document = ?1 AND (blob, role) > (?2, ?3)
                   ORDER BY blob, role LIMIT ?4";
        let (blob, role) = after.map_or_else(Default::default, |last| (last.digest.to_string(), number_of(last.role)));
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![document.to_string(), blob, role, rows::whole(most as u64)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Reference { digest: digest_of(row, 0)?, role: role_of(row.get(1)?) });
        }
        Ok(found)
    }
}

fn number_of(role: Role) -> i64 {
    match role {
        Role::Part => 0,
        Role::Document => 1,
        Role::Subject => 2,
    }
}

fn role_of(number: i64) -> Role {
    match number {
        1 => Role::Document,
        2 => Role::Subject,
        _ => Role::Part,
    }
}

/// Read a digest. Text that is not a digest is a conversion error, which counts as damage.
pub(super) fn digest_of(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text = row.get_ref(column)?.as_str()?;
    let damage = |reason: String| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into());
    Digest::parse(text).map_err(|error| damage(error.to_string()))
}
