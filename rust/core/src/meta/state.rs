//! What a store's metadata stands on at the moment: open connections, nothing, or a damaged file.

use std::sync::{Mutex, PoisonError, RwLockReadGuard};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connect::{self, Opened, Print};
use super::writer::{Sync, Writer};
use super::{Meta, fault};
use crate::error::{Error, Result};

/// What there is.
pub(super) enum State {
    /// A good file.
    Open(Box<Connections>),
    /// No file, in a store that must not make one.
    Absent,
    /// Something that is not our file; in words, what.
    Damaged(String),
    /// The store was closed.
    Closed,
}

/// A connection to read and, unless the store is read-only, one to write: so that no reader waits for a writer's sync.
pub(super) struct Connections {
    reader: Mutex<Connection>,
    writer: Option<Mutex<Writer>>,
    /// What the file looked like when a read-only store opened it.
    pub print: Print,
}

impl Connections {
    /// Answer a question.
    pub fn read<T>(&self, run: impl Fn(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        run(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Change the file.
    pub fn write<T>(
        &self,
        sync: Sync,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let Some(writer) = &self.writer else {
            return Err(rusqlite::Error::InvalidQuery);
        };
        writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(sync, run)
    }

    /// Have the last close leave the log alone: what is damaged is evidence.
    fn spare(&self) {
        let flag = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        self.reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_db_config(flag, true)
            .ok();
        if let Some(writer) = &self.writer {
            writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .spare();
        }
    }
}

impl Meta {
    /// Open the file as the mode says.
    pub(super) fn connect(&self) -> Result<State> {
        let place = self.place();
        // Taken first: a change while the file is opened then shows as a difference.
        let print = place.print()?;
        let first = if self.mode.read_only {
            connect::readable(place)?
        } else {
            connect::writable(place)?
        };
        let reader = match first {
            Opened::Good(connection) => Mutex::new(connection),
            Opened::Missing => return Ok(State::Absent),
            Opened::Damaged(reason) => return Ok(State::Damaged(reason)),
        };
        let writer = if self.mode.read_only {
            None
        } else {
            match connect::writable(place)? {
                Opened::Good(connection) => Some(Mutex::new(Writer::new(connection))),
                Opened::Missing => return Ok(State::Absent),
                Opened::Damaged(reason) => return Ok(State::Damaged(reason)),
            }
        };
        Ok(State::Open(Box::new(Connections {
            reader,
            writer,
            print,
        })))
    }

    /// Have a read-only store look at the file as it is now.
    pub(super) fn refresh(&self) -> Result<()> {
        if !self.mode.read_only {
            return Ok(());
        }
        let print = self.place().print()?;
        match &*self.state() {
            State::Open(connections) if connections.print != print => {}
            State::Absent => {}
            _ => return Ok(()),
        }
        let state = self.connect()?;
        self.set_state(state);
        Ok(())
    }

    /// Return the error of a store that was closed.
    pub(super) fn closed(&self) -> Error {
        Error::Closed {
            name: self.path.display().to_string(),
        }
    }

    /// The state, which cannot change while this is held: a connection must never be left behind by one that does, for
    /// SQLite's last close of a file removes the log by its name, whosever that is by then.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_state(&self, state: State) {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let (State::Open(connections), State::Damaged(_)) = (&*current, &state) {
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
