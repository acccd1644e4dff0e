//! The one connection of a store that writes.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, ffi};

use crate::error::is_limit;
use crate::sys::sqlite;

/// The promise of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// It survives a power loss (`synchronous=FULL`): the log is synced before the call returns.
    Durable,
    /// It survives the process (`synchronous=NORMAL`); after a power loss it may be gone, but the file is whole.
    Cheap,
}

/// A connection and the promise it is set to. Setting it again costs a microsecond, a second connection would cost a
/// cache and two descriptors more.
pub(super) struct Writer {
    connection: Connection,
    sync: Option<Sync>,
    /// The refusal after which nothing in the log is certain any more, and the system's number for it.
    failed: Option<(ffi::Error, i32)>,
}

impl Writer {
    pub fn new(connection: Connection) -> Self {
        Self { connection, sync: None, failed: None }
    }

    /// Run `run` in a transaction of its own; an error leaves everything as it was. While another process writes it is an
    /// error at once, and `run` is still there.
    pub fn write<T, F>(&mut self, sync: Sync, run: &mut Option<F>) -> rusqlite::Result<T>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T>,
    {
        sqlite::forget_failure();
        if let Some((failed, errno)) = self.failed {
            sqlite::set_failure(errno);
            return Err(rusqlite::Error::SqliteFailure(failed, None));
        }
        if self.sync != Some(sync) {
            let level = if sync == Sync::Durable { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", level)?;
            self.sync = Some(sync);
        }
        // Immediate: a second writer is then refused at the beginning, and never half-way.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let run = run.take().unwrap_or_else(|| unreachable!("it is run once"));
        let result = run(&transaction)?;
        // DURABILITY: a power cut here leaves the transaction as a whole or not at all.
        match transaction.commit() {
            Ok(()) => Ok(result),
            Err(error) => Err(self.poison(error)),
        }
    }

    /// Remember a failed write or sync. The kernel drops what it could not write and reports it once, so that cheap
    /// writes before it may be lost in the middle of the log, and durable ones after it with them. Not so where only the
    /// log's index found no room, nor where a write was refused before anything of it was taken.
    fn poison(&mut self, error: rusqlite::Error) -> rusqlite::Error {
        if let rusqlite::Error::SqliteFailure(cause, _) = &error
            && cause.code == ErrorCode::SystemIoFailure
            && !matches!(cause.extended_code, ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP)
            && !(cause.extended_code == ffi::SQLITE_IOERR_WRITE && sqlite::failure().is_some_and(is_limit))
        {
            self.failed = Some((*cause, sqlite::failure().unwrap_or_default()));
        }
        error
    }

    /// Make the last close leave the log as it is.
    pub fn spare(&self) {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok();
    }
}
