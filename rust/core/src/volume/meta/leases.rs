//! Leases, which protect resources from garbage collection. A file has their tables from its first lease on.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

use super::Meta;
use super::collect::{self, Collecting};
use super::writer::Sync;
use crate::digest::Digest;
use crate::error::Result;
use crate::format::labels;
use crate::format::metadata::{BLOB, INGEST, LEASES};
use crate::model::{Labels, Lease, Resources};

/// The columns that [`read`] expects.
pub(super) const COLUMNS: &str = "id, created_ns, expires_ns, boot, boot_expires_ns, process, labels";

/// The row of a lease in `meta.db`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// The lease.
    pub lease: Lease,
    /// The boot of the machine in which it was created, and the time since that boot at which it ends.
    pub boot: Option<(String, i64)>,
}

impl Meta {
    /// Return a lease.
    pub fn lease(&self, id: &str) -> Result<Option<LeaseRow>> {
        Ok(self.asked(|leases| leases.get(id))?.flatten())
    }

    /// Return all leases, by their IDs.
    pub fn leases(&self) -> Result<Vec<LeaseRow>> {
        Ok(self.asked(all)?.unwrap_or_default())
    }

    /// Return the resources that a lease protects, in order.
    pub fn lease_resources(&self, id: &str) -> Result<Resources> {
        Ok(self.asked(|leases| leases.resources(id))?.unwrap_or_default())
    }

    /// Query leases; `None` if there has never been one. A damaged file is an error, because "no lease" would be a wrong answer.
    fn asked<T>(&self, run: impl Fn(&Leases<'_>) -> rusqlite::Result<T>) -> Result<Option<T>> {
        let found = self.read(|connection| Leases::find(connection)?.map(|leases| run(&leases)).transpose())?;
        self.check_labels_readable()?;
        Ok(found.flatten())
    }

    /// Create the tables if necessary, and change leases in one transaction. Waits for other processes. `run` must not change anything
    /// before it refuses. With `durable` the change survives a power loss.
    pub fn create_leases<T>(
        &self,
        durable: bool,
        run: impl FnOnce(&Leases<'_>) -> rusqlite::Result<Result<T>>,
    ) -> Result<T> {
        self.write(sync_of(durable), |connection| {
            connection.execute_batch(LEASES)?;
            run(&Leases { connection })
        })?
    }

    /// Change leases in one transaction. `run` gets `None` if there has never been a lease, and adds all of the blobs `entered` or none.
    /// Returns `None`, without a change, while another process is writing. With `durable` the change survives a power loss.
    ///
    /// The removal of a note survives a power loss in any case: a writer without a lease relies on a missing note.
    pub fn try_change_leases<T, F>(&self, durable: bool, entered: &[Digest], run: F) -> Result<Option<T>>
    where
        F: Fn(Option<&Leases<'_>>) -> rusqlite::Result<Result<T>>,
    {
        let change = |connection: &Connection| run(Leases::find(connection)?.as_ref());
        if !durable {
            let run = |connection: &Connection| match collect::noted(connection, entered)?.digests.as_slice() {
                [] => change(connection).map(Some),
                _ => Ok(None),
            };
            match self.try_write(Sync::Cheap, &mut Some(run))? {
                Some(None) => {}
                done => return done.flatten().transpose(),
            }
        }
        self.try_write(Sync::Durable, &mut Some(change))?.transpose()
    }

    /// Remove resources that no longer exist, or will be removed, from a lease. Returns false, without a change, while another process is
    /// writing. A failure leaves entries of missing resources.
    pub fn try_leave_lease(&self, id: &str, resources: &Resources) -> bool {
        let run = |connection: &Connection| match Leases::find(connection)? {
            Some(leases) => leases.leave(id, resources),
            None => Ok(()),
        };
        !matches!(self.try_write(Sync::Cheap, &mut Some(run)), Ok(None))
    }

    /// Remove the lease of a process that ends. A failure leaves a row without effect.
    pub fn forget_lease(&self, id: &str) {
        let run = |connection: &Connection| match Leases::find(connection)? {
            Some(leases) => leases.remove(id, None).map(drop),
            None => Ok(()),
        };
        self.write_spare(Sync::Cheap, run).ok();
    }

    /// Remove leases that have ended by themselves. Returns for each whether it was removed here. A failure leaves rows without effect.
    pub fn forget_leases(&self, ended: &[Lease]) -> Vec<bool> {
        let run = |connection: &Connection| match Leases::find(connection)? {
            Some(leases) => leases.remove_all(ended),
            None => Ok(Vec::new()),
        };
        self.write_spare(Sync::Cheap, run).ok().flatten().unwrap_or_default()
    }
}

/// The leases within a transaction, which the caller holds.
pub struct Leases<'a> {
    connection: &'a Connection,
}

impl<'a> Leases<'a> {
    /// The leases of a file; `None` if it has no tables for them.
    pub(super) fn find(connection: &'a Connection) -> rusqlite::Result<Option<Self>> {
        let kept: bool = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'lease_resources')")?
            .query_row([], |row| row.get(0))?;
        Ok(kept.then_some(Self { connection }))
    }

    /// Return a lease.
    pub fn get(&self, id: &str) -> rusqlite::Result<Option<LeaseRow>> {
        let sql = format!("SELECT {COLUMNS} FROM leases WHERE id = ?1");
        self.connection.prepare_cached(&sql)?.query_row([id], read).optional()
    }

    fn resources(&self, id: &str) -> rusqlite::Result<Resources> {
        let mut statement =
            self.connection.prepare_cached("SELECT kind, name FROM lease_resources WHERE lease = ?1 ORDER BY name")?;
        let mut found = Resources::default();
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            let (kind, name): (String, String) = row.try_into()?;
            match kind.as_str() {
                BLOB => found.digests.push(Digest::parse(&name).map_err(|error| garbage(1, error.to_string()))?),
                INGEST => found.refs.push(name),
                // A later release wrote it.
                _ => {}
            }
        }
        Ok(found)
    }

    /// Insert a lease without resources.
    pub fn put(&self, row: &LeaseRow) -> rusqlite::Result<()> {
        put(self.connection, row)
    }

    /// Remove a lease and its resources. Returns whether it existed. With a time, only a lease that was created at that time is removed.
    pub fn remove(&self, id: &str, created_ns: Option<i64>) -> rusqlite::Result<bool> {
        let removed = self
            .connection
            .prepare_cached("DELETE FROM leases WHERE id = ?1 AND (?2 IS NULL OR created_ns = ?2)")?
            .execute(params![id, created_ns])?;
        if removed > 0 {
            self.connection.prepare_cached("DELETE FROM lease_resources WHERE lease = ?1")?.execute([id])?;
        }
        Ok(removed > 0)
    }

    /// Remove these leases. Returns for each whether it existed.
    pub fn remove_all(&self, leases: &[Lease]) -> rusqlite::Result<Vec<bool>> {
        leases.iter().map(|lease| self.remove(&lease.id, Some(lease.created_ns))).collect()
    }

    /// Add resources to a lease. Their notes are removed, so that the grace time begins again when the lease ends.
    pub fn enter(&self, id: &str, resources: &Resources) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO lease_resources (lease, kind, name) VALUES (?1, ?2, ?3)";
        self.each(sql, id, resources)?;
        match Collecting::find(self.connection)? {
            Some(collecting) => collecting.unnote(&resources.digests),
            None => Ok(()),
        }
    }

    /// Remove resources from a lease.
    pub fn leave(&self, id: &str, resources: &Resources) -> rusqlite::Result<()> {
        self.each("DELETE FROM lease_resources WHERE lease = ?1 AND kind = ?2 AND name = ?3", id, resources)
    }

    fn each(&self, sql: &str, id: &str, resources: &Resources) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(sql)?;
        for digest in &resources.digests {
            statement.execute([id, BLOB, digest.to_string().as_str()])?;
        }
        for ref_ in &resources.refs {
            statement.execute([id, INGEST, ref_.as_str()])?;
        }
        Ok(())
    }
}

fn sync_of(durable: bool) -> Sync {
    if durable { Sync::Durable } else { Sync::Cheap }
}

fn all(leases: &Leases<'_>) -> rusqlite::Result<Vec<LeaseRow>> {
    let sql = format!("SELECT {COLUMNS} FROM leases ORDER BY id");
    leases.connection.prepare_cached(&sql)?.query_map([], read)?.collect()
}

/// Insert a lease.
pub(super) fn put(connection: &Connection, row: &LeaseRow) -> rusqlite::Result<()> {
    let LeaseRow { lease, boot } = row;
    let labels = (!lease.labels.is_empty()).then(|| labels::encode(&lease.labels));
    let (boot, boot_expires_ns) = boot.as_ref().map(|(id, ns)| (id.as_str(), *ns)).unzip();
    connection
        .prepare_cached(&format!("INSERT OR IGNORE INTO leases ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"))?
        .execute(params![
            lease.id,
            lease.created_ns,
            lease.expires_ns,
            boot,
            boot_expires_ns,
            lease.process.map(i64::from),
            labels
        ])?;
    Ok(())
}

/// Read a row of [`COLUMNS`]. An invalid value is a conversion error, which counts as damage.
pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<LeaseRow> {
    let text = row.get_ref(6)?.as_str_or_null().map_err(|error| garbage(6, error.to_string()))?;
    let labels = match text {
        None => Labels::new(),
        Some(text) => labels::decode(text).ok_or_else(|| garbage(6, "labels that are not JSON".to_owned()))?,
    };
    let process = row.get::<_, Option<i64>>(5)?.map(u32::try_from).transpose();
    let process = process.map_err(|error| garbage(5, error.to_string()))?;
    let lease = Lease { id: row.get(0)?, created_ns: row.get(1)?, expires_ns: row.get(2)?, process, labels };
    let boot = row.get::<_, Option<String>>(3)?.zip(row.get::<_, Option<i64>>(4)?);
    Ok(LeaseRow { lease, boot })
}

fn garbage(column: usize, reason: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}
