//! The default times of collections: settings of the store, so that all processes that collect it use the same times.

use crate::error::Result;
use crate::format::metadata::{GRACE, INGEST_AGE};
use crate::store::Store;

impl Store {
    /// Set the grace time and the age of abandoned ingests, in ns, each if it is given. Returns both; `None` for one that was never set.
    /// On return the change survives a power loss.
    pub fn collect_defaults(
        &self,
        grace_ns: Option<i64>,
        ingest_age_ns: Option<i64>,
    ) -> Result<(Option<i64>, Option<i64>)> {
        let given = [(GRACE, grace_ns), (INGEST_AGE, ingest_age_ns)];
        let given: Vec<_> = given.into_iter().filter_map(|(name, ns)| Some((name, ns?.to_string()))).collect();
        if given.is_empty() {
            self.volume.check_open()?;
        } else {
            self.volume.check_writable()?;
            self.volume.meta.set_settings(&given)?;
        }
        // A value that is not a number counts as not set.
        let number = |name| {
            let text = self.volume.meta.setting(name)?;
            Ok(text.and_then(|text| text.parse().ok()).filter(|ns: &i64| *ns >= 0))
        };
        Ok((number(GRACE)?, number(INGEST_AGE)?))
    }
}
