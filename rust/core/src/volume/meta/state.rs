//! The state of a store's metadata: open connections, nothing, or a damaged file.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::place::Print;
use super::writer::{Sync, Writer};
use crate::sys::{ProcessBound, sqlite};

/// The most memory for cached pages of a store's reads, in KiB.
const CACHE_KIB: i64 = 32 << 10;

/// The state of the metadata.
pub(super) enum State {
    /// A good file.
    Open(ProcessBound<Box<Connections>>),
    /// No file, in a store that must not create one.
    Absent,
    /// Something that is not the store's file; a description of it.
    Damaged(String),
    /// The store was closed.
    Closed,
}

impl State {
    pub fn open(reader: Connection, writer: Option<Connection>, print: Print) -> Self {
        // Enough for the rows and labels of a hundred thousand blobs. Memory is allocated as it is used. A failure only costs time.
        reader.pragma_update(None, "cache_size", -CACHE_KIB).ok();
        // From now on `Meta` waits for other processes itself, without holding a connection that other threads need.
        for connection in [Some(&reader), writer.as_ref()].into_iter().flatten() {
            connection.busy_handler(None).ok();
        }
        Self::Open(ProcessBound::new(Box::new(Connections {
            reader: Mutex::new(reader),
            writer: writer.map(|connection| Mutex::new(Writer::new(connection))),
            waiting: AtomicUsize::new(0),
            print,
        })))
    }
}

/// A connection for reading and, unless the store is read-only or the disk is full, one for writing, so that no reader waits for the sync
/// of a writer.
pub(super) struct Connections {
    reader: Mutex<Connection>,
    writer: Option<Mutex<Writer>>,
    /// The number of threads that wait for the writer.
    waiting: AtomicUsize,
    /// The print of the file before it was opened; used if it is read without locks.
    pub print: Print,
}

impl Connections {
    /// Run a query.
    pub fn read<T>(&self, run: impl Fn(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        sqlite::forget_failure();
        run(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Change the file; `None` if that is not possible now.
    pub fn write<T, F>(&self, sync: Sync, run: &mut Option<F>) -> Option<rusqlite::Result<T>>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T>,
    {
        let writer = self.writer.as_ref()?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(writer.write(sync, run))
    }

    /// Whether a thread waits to change the file while another one of this process does.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether the file is read without locks, so that it may change at any time.
    pub fn frozen(&self) -> bool {
        self.writer.is_none()
    }

    /// Make the last close leave the log unchanged: a damaged file is kept for inspection.
    pub fn spare(&self) {
        let flag = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).set_db_config(flag, true).ok();
        if let Some(writer) = &self.writer {
            writer.lock().unwrap_or_else(PoisonError::into_inner).spare();
        }
    }
}
