//! Another program that collects the garbage of a store, and services that let programs work on it.
//!
//! At any time, either the store's own collector or the other program may remove blobs; a note in the metadata says which. The service
//! that has written the note prevents its removal as long as it has the store open. A service for programs whose leases are in this
//! store prevents such a note.

use crate::error::{Error, Result};
use crate::format::metadata::FOREIGN_COLLECTOR;
use crate::volume::Volume;
use crate::volume::lock::Service;

impl Volume {
    /// Begin to serve the store, until it is closed. `collector` is the program that collects the garbage from now on, which is recorded
    /// durably; with `None` the store's own collector does. When this returns, no collection is running.
    pub fn serve(&self, collector: Option<&str>) -> Result<()> {
        self.check_writable()?;
        let service = if collector.is_some() { Service::Foreign } else { Service::Own };
        if !self.locks.serve(service)? {
            return Err(self.refused("another program is changing the collector of this store; try again"));
        }
        let found = self.foreign_collector()?;
        match (collector, found) {
            (None, None) => Ok(()),
            (None, Some(other)) => {
                let next = "take it back first (`collect` with `take_back`, `steelyard gc --take-back`)";
                Err(self.refused(&format!("{other} collects the blobs of this store; {next}")))
            }
            (Some(name), found) if found.as_deref() == Some(name) => Ok(()),
            (Some(name), _) => self.note_foreign_collector(name),
        }
    }

    /// Record the other program, while no collection of this store is running, and no service for programs that rely on its leases.
    fn note_foreign_collector(&self, name: &str) -> Result<()> {
        let Some(_alone) = self.locks.try_alone(Service::Own)? else {
            return Err(self.refused("it is served with its own collector (`--own-collector`); end that service"));
        };
        let Some(_collector) = self.locks.try_collector()? else {
            let holder =
                self.meta.collector_process()?.map_or("unknown".to_owned(), |number| format!("process {number}"));
            return Err(Error::CollectionBusy { holder });
        };
        if self.meta.set_setting(FOREIGN_COLLECTOR, Some(name))? {
            return Ok(());
        }
        Err(Error::Unavailable {
            name: "the metadata".to_owned(),
            holder: "another process".to_owned(),
            since_ns: None,
            local: false,
        })
    }

    /// The other program that collects the garbage of this store, if there is one.
    pub(crate) fn foreign_collector(&self) -> Result<Option<String>> {
        self.meta.setting(FOREIGN_COLLECTOR)
    }

    fn refused(&self, reason: &str) -> Error {
        Error::FailedPrecondition { message: format!("{}: {reason}", self.path().display()) }
    }
}
