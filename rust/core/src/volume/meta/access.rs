//! Queries of the file, and changes to it.

use rusqlite::Connection;

use super::Meta;
use super::fault::{self, Fault};
use super::state::State;
use super::writer::Sync;
use crate::error::Result;
use crate::sys::sqlite;
use crate::waiting::{Patience, SPARE_TRIES};

impl Meta {
    /// Query the file; `None` if it is missing or damaged.
    pub(super) fn read<T>(&self, run: impl Fn(&Connection) -> rusqlite::Result<T>) -> Result<Option<T>> {
        let (mut tries, mut unfinished, mut patience) = (0, 0, Patience::new());
        // A file that is read without locks may change during the query. The result is not used then.
        while tries < 8 {
            tries += 1;
            self.refresh()?;
            let (answer, print) = match &*self.state() {
                State::Open(connections) => {
                    let connections = connections.get(|| self.name())?;
                    let print = connections.frozen().then_some(connections.print);
                    (connections.read(&run), print)
                }
                State::Closed => return Err(self.closed()),
                State::Absent | State::Damaged(_) => return Ok(None),
            };
            if let Some(print) = print
                && print != self.place().print()?
            {
                continue;
            }
            match answer {
                Ok(answer) => return Ok(Some(answer)),
                // Readers wait only for a process that recovers the log.
                Err(error) if fault::is_busy(&error) => {
                    patience.pause()?;
                    tries = 0;
                }
                Err(error) if fault::is_unfinished(&error) && unfinished < SPARE_TRIES => {
                    patience.pause()?;
                    (tries, unfinished) = (0, unfinished + 1);
                }
                Err(error) => self.sort(&error, "read metadata")?,
            }
        }
        Err(fault::refused(libc::EBUSY, &self.path, "read metadata"))
    }

    /// Change the file, and wait for other processes that change it. Fails with `Cancelled` if the caller no longer wants the change.
    pub(super) fn write<T>(&self, sync: Sync, run: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut run = Some(run);
        Patience::until(|| self.try_write(sync, &mut run))
    }

    /// Change the file if other processes allow it soon. Otherwise returns `None`, without a change. For writes that only save time, so
    /// that no process waits for a suspended one because of them.
    pub(super) fn write_spare<T>(
        &self,
        sync: Sync,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let mut run = Some(run);
        Patience::briefly(|| self.try_write(sync, &mut run))
    }

    /// Whether a thread waits to change the file: one of this process, or one that found another process changing it.
    pub fn is_waited_for(&self) -> bool {
        let is_here =
            matches!(&*self.state(), State::Open(open) if open.get(String::new).is_ok_and(|it| it.is_waited_for()));
        is_here || self.locks.is_waited_for().unwrap_or_default()
    }

    /// Make one attempt to change the file. While another process changes it, returns `None` without consuming `run`, and collections see
    /// that a thread waits.
    pub(super) fn try_write<T, F>(&self, sync: Sync, run: &mut Option<F>) -> Result<Option<T>>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T>,
    {
        let done = self.try_write_unannounced(sync, run)?;
        if done.is_some() {
            self.locks.end_waiting();
        } else {
            self.locks.begin_waiting();
        }
        Ok(done)
    }

    /// Change the file as `try_write` does, but without the sign that a thread waits. For a collection, which lets others go first, and for
    /// a caller that does not try again.
    pub(super) fn try_write_unannounced<T, F>(&self, sync: Sync, run: &mut Option<F>) -> Result<Option<T>>
    where
        F: FnOnce(&Connection) -> rusqlite::Result<T>,
    {
        if self.mode.read_only {
            return Err(fault::refused(libc::EROFS, &self.path, "write metadata"));
        }
        let sync = if self.mode.durable { sync } else { Sync::Cheap };
        self.thaw()?;
        if !sqlite::prepare_mappings() {
            return Err(fault::refused(libc::ENOSPC, &self.path, "write metadata"));
        }
        // SQLite would continue to write to a file whose name was removed.
        let there = self.place().exists()?;
        let result = match &*self.state() {
            State::Open(_) if !there => None,
            State::Open(connections) => match connections.get(|| self.name())?.write(sync, run) {
                Some(result) => Some(result),
                None => return Err(fault::refused(libc::ENOSPC, &self.path, "write metadata")),
            },
            State::Closed => return Err(self.closed()),
            State::Absent | State::Damaged(_) => return Err(self.corrupt()),
        };
        match result {
            Some(Ok(result)) => return Ok(Some(result)),
            Some(Err(error)) if run.is_some() && fault::is_busy(&error) => return Ok(None),
            Some(Err(error)) => self.sort(&error, "write metadata")?,
            None => self.set_state(State::Damaged("was removed while the store was open".to_owned())),
        }
        Err(self.corrupt())
    }

    /// Enter the damaged state if the error means damage. Otherwise return an error.
    fn sort(&self, error: &rusqlite::Error, operation: &'static str) -> Result<()> {
        match fault::classify(error) {
            Fault::Damage(reason) => {
                self.set_state(State::Damaged(format!("is damaged ({reason})")));
                Ok(())
            }
            Fault::Refused(errno) => Err(fault::refused(errno, &self.path, operation)),
        }
    }
}
