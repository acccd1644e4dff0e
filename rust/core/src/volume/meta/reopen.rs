//! Opening the file, and opening it again when its mode can change.

use std::sync::{PoisonError, RwLockReadGuard};

use rusqlite::Connection;

use super::connect::{self, Opened};
use super::place::Place;
use super::state::State;
use super::{Meta, fault};
use crate::error::{Error, Result};
use crate::sys::sqlite;

impl Meta {
    /// Open the file in its mode, or for reading only if the disk is too full for more: a process that must free space needs to read the
    /// store and to delete blobs.
    pub(super) fn connect(&self) -> Result<State> {
        if self.mode.read_only {
            return self.connect_frozen();
        }
        match self.connect_writable() {
            Err(error) if error.is_full() => self.connect_frozen(),
            other => other,
        }
    }

    fn connect_frozen(&self) -> Result<State> {
        // The print is taken first, so that a change during the open is noticed.
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

    /// Open the current state of a file that is read without locks. If the disk is too full for the shared index, read without it.
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

    /// Try again to open the file for writing, if that was impossible because the disk was full.
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
            // A checkpoint would change the log's index, for which there may be no space.
            State::Open(connections) => connections.get(|| self.name())?.spare(),
            State::Absent => {}
            State::Damaged(_) | State::Closed => return Ok(()),
        }
        // The old connections are closed first: all connections of a process share one index, and the new ones would share an index that was
        // opened for reading only.
        *current = State::Absent;
        *current = open(self)?;
        Ok(())
    }

    /// Return the error of a store that was closed.
    pub(super) fn closed(&self) -> Error {
        Error::store_closed(self.name())
    }

    /// The state, which cannot change while the guard is held. No connection to an old file may remain after a change: SQLite's last close
    /// of a file removes the log of that name, even if the log belongs to a new file by then.
    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_state(&self, state: State) {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // On a full disk or quota, the log must stay unchanged: the last close would write to the log's index (SIGBUS).
        let is_full = || !sqlite::prepare_mappings();
        if let State::Open(connections) = &*current
            && let Some(connections) = connections.here()
            && (matches!(state, State::Damaged(_)) || is_full())
        {
            connections.spare();
        }
        *current = state;
    }

    /// Return the error of a call that needs the file, if it is damaged or missing.
    pub(super) fn corrupt(&self) -> Error {
        match &*self.state() {
            State::Damaged(reason) => fault::damaged(&self.path, reason),
            _ => fault::damaged(&self.path, "no file"),
        }
    }
}
