//! The one connection of a store that writes.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, ffi};

use crate::error::is_limit;
use crate::sys::sqlite;

/// The promise of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// The write survives a power loss (`synchronous=FULL`): the log is synced before the call returns.
    Durable,
    /// The write survives the process (`synchronous=NORMAL`). A power loss may undo it, but does not damage the file.
    Cheap,
}

/// A connection, and the promise to which it is set. To change the promise costs a microsecond; a second connection would cost another
/// cache and two further descriptors.
pub(super) struct Writer {
    connection: Connection,
    sync: Option<Sync>,
    /// The failure after which the content of the log is uncertain, and the system's error number.
    failed: Option<(ffi::Error, i32)>,
}

impl Writer {
    pub fn new(connection: Connection) -> Self {
        Self { connection, sync: None, failed: None }
    }

    /// Run `run` in its own transaction; an error changes nothing. While another process is writing, this fails at once, without consuming
    /// `run`.
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
        // With an immediate transaction, a second writer is refused at the beginning, and never half-way.
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let run = run.take().unwrap_or_else(|| unreachable!("it is run once"));
        let result = run(&transaction)?;
        // DURABILITY: a power cut here leaves the whole transaction or nothing of it.
        match transaction.commit() {
            Ok(()) => Ok(result),
            Err(error) => Err(self.poison(error)),
        }
    }

    /// Remember a failed write or sync. The kernel drops data that it could not write, and reports this once. So earlier cheap writes may
    /// be lost in the middle of the log, and with them later durable ones. This does not apply if only the log's index had no space, or if
    /// a write was refused completely.
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

    /// Make the last close leave the log unchanged.
    pub fn spare(&self) {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok();
    }
}
