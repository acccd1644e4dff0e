//! What a store's metadata stands on at the moment: open connections, nothing, or a damaged file.

use std::sync::{Mutex, PoisonError, RwLockReadGuard};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connect::{self, Opened, Place, Print};
use super::writer::{Sync, Writer};
use super::{Meta, fault};
use crate::error::{Error, Result};
use crate::sys::{ProcessBound, sqlite};

/// The most memory that a store's reads may keep pages in, in KiB.
const CACHE_KIB: i64 = 32 << 10;

/// What there is.
pub(super) enum State {
    /// A good file.
    Open(ProcessBound<Box<Connections>>),
    /// No file, in a store that must not make one.
    Absent,
    /// Something that is not our file; in words, what.
    Damaged(String),
    /// The store was closed.
    Closed,
}

impl State {
    fn open(reader: Connection, writer: Option<Connection>, print: Print) -> Self {
        // Enough for the rows and labels of a hundred thousand blobs; it is taken as it is used. A failure costs time only.
        reader.pragma_update(None, "cache_size", -CACHE_KIB).ok();
        // From now on `Meta` waits for other processes: not while it has a connection that other threads need.
        for connection in [Some(&reader), writer.as_ref()].into_iter().flatten() {
            connection.busy_handler(None).ok();
        }
        Self::Open(ProcessBound::new(Box::new(Connections {
            reader: Mutex::new(reader),
            writer: writer.map(|connection| Mutex::new(Writer::new(connection))),
            print,
        })))
    }
}

/// A connection to read and, unless the store is read-only or the disk full, one to write: so that no reader waits for a writer's sync.
pub(super) struct Connections {
    reader: Mutex<Connection>,
    writer: Option<Mutex<Writer>>,
    /// What the file looked like before it was opened; of use where it is read without locks.
    pub print: Print,
}

impl Connections {
    /// Answer a question.
    pub fn read<T>(&self, run: impl Fn(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        sqlite::forget_failure();
        run(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Change the file; None where that is not possible now.
    pub fn write<T, F>(&self, sync: Sync, run: &mut Option<F>) -> Option<rusqlite::Result<T>>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T>,
    {
        let writer = self.writer.as_ref()?;
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        Some(writer.write(sync, run))
    }

    /// Whether the file is read without locks, so that it may change at any time.
    pub fn frozen(&self) -> bool {
        self.writer.is_none()
    }

    /// Have the last close leave the log alone: what is damaged is evidence.
    fn spare(&self) {
        let flag = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).set_db_config(flag, true).ok();
        if let Some(writer) = &self.writer {
            writer.lock().unwrap_or_else(PoisonError::into_inner).spare();
        }
    }
}

impl Meta {
    /// Open the file as the mode says, or to read only where the disk is too full for more: whoever has to make room
    /// must be able to look at the store and to delete.
    pub(super) fn connect(&self) -> Result<State> {
        if self.mode.read_only {
            return self.connect_frozen();
        }
        match self.connect_writable() {
            Err(Error::Io { errno: libc::ENOSPC | libc::EDQUOT | libc::EFBIG, .. }) => self.connect_frozen(),
            other => other,
        }
    }

    fn connect_frozen(&self) -> Result<State> {
        // Taken first: a change while the file is opened then shows as a difference.
        let print = self.place().print()?;
        self.state_of(connect::readable, |reader| Ok(State::open(reader, None, print)))
    }

    fn connect_writable(&self) -> Result<State> {
        let print = self.place().print()?;
        self.state_of(connect::writable, |reader| {
            self.state_of(connect::writable, |writer| Ok(State::open(reader, Some(writer), print)))
        })
    }

    fn state_of(
        &self,
        open: fn(Place<'_>) -> Result<Opened<Connection>>,
        good: impl FnOnce(Connection) -> Result<State>,
    ) -> Result<State> {
        match open(self.place())? {
            Opened::Good(connection) => good(connection),
            Opened::Missing => Ok(State::Absent),
            Opened::Damaged(reason) => Ok(State::Damaged(reason)),
        }
    }

    /// Look at a file that is read without locks as it is now; read without the shared index where the disk is too full for it.
    pub(super) fn refresh(&self) -> Result<()> {
        let prepared = sqlite::prepare_mappings();
        match &*self.state() {
            State::Open(connections) if connections.here().is_some_and(|open| open.frozen()) => {
                if connections.get(|| self.name())?.print == self.place().print()? {
                    return Ok(());
                }
            }
            State::Open(_) if !prepared => {}
            State::Absent => {}
            _ => return Ok(()),
        }
        self.reopen(if prepared { Self::connect } else { Self::connect_frozen })
    }

    /// Have another try at a file that could not be opened to write, because the disk was full.
    pub(super) fn thaw(&self) -> Result<()> {
        let shut = match &*self.state() {
            State::Open(connections) => connections.here().is_some_and(|open| open.frozen()),
            State::Absent => true,
            State::Damaged(_) | State::Closed => false,
        };
        if shut { self.reopen(Self::connect) } else { Ok(()) }
    }

    /// Close the file and open it again. After a failure the next call tries again.
    fn reopen(&self, open: fn(&Self) -> Result<State>) -> Result<()> {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            // A checkpoint would change the log's index, for which there may be no room.
            State::Open(connections) => connections.get(|| self.name())?.spare(),
            State::Absent => {}
            State::Damaged(_) | State::Closed => return Ok(()),
        }
        // First: all connections of a process share one index, and one that was opened to read only would be shared by the
        // new ones.
        *current = State::Absent;
        *current = open(self)?;
        Ok(())
    }

    /// Return the error of a store that was closed.
    pub(super) fn closed(&self) -> Error {
        Error::store_closed(self.name())
    }

    /// The state, which cannot change while this is held: a connection must never be left behind by one that does, for
    /// SQLite's last close of a file removes the log by its name, whosever that is by then.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_state(&self, state: State) {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // A disk or quota that is full leaves the log as it is: the last close would write to the log's index (SIGBUS).
        let is_full = || !sqlite::prepare_mappings();
        if let State::Open(connections) = &*current
            && let Some(connections) = connections.here()
            && (matches!(state, State::Damaged(_)) || is_full())
        {
            connections.spare();
        }
        *current = state;
    }

    /// Return the error for a call that the damaged or missing file does not allow.
    pub(super) fn corrupt(&self) -> Error {
        match &*self.state() {
            State::Damaged(reason) => fault::damaged(&self.path, reason),
            _ => fault::damaged(&self.path, "no file"),
        }
    }
}
