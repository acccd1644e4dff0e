//! Another program that collects the garbage of a store.

use crate::error::Result;
use crate::format::metadata::FOREIGN_COLLECTOR;
use crate::volume::Volume;

impl Volume {
    /// Note durably that another program collects the garbage of this store, or with None that none does. False if another process
    /// wrote for too long.
    pub fn set_foreign_collector(&self, name: Option<&str>) -> Result<bool> {
        self.check_writable()?;
        self.meta.set_setting(FOREIGN_COLLECTOR, name)
    }

    /// The program that collects the garbage of this store, if another one does.
    pub(crate) fn foreign_collector(&self) -> Result<Option<String>> {
        self.meta.setting(FOREIGN_COLLECTOR)
    }
}
