//! Abandoned ingests: unfinished ingests that no writer has resumed.

use std::collections::HashSet;

use super::look::is_older;
use super::mark::Marking;
use super::values::Options;
use crate::error::Result;
use crate::format::names::ingest_name;
use crate::model::Status;
use crate::volume::meta::Note;

impl Marking {
    /// Discard the abandoned ingests, or only find them in a dry run. Returns their number.
    ///
    /// An ingest is abandoned if an earlier collection noted it in its present state, at least `ingest_age_ns` ago by both clocks. The
    /// time of its last change does not count for its age: it comes from the wall clock only, which may be wrong.
    pub fn discard_ingests(&mut self, options: &Options) -> Result<u64> {
        let leased = self.leased_refs()?;
        let (mut count, mut notes) = (0, Vec::new());
        for status in self.ingests.statuses()? {
            let Status { ref_, updated_ns, .. } = status;
            if leased.contains(&ref_) || self.ingests.is_held(&ref_)? {
                continue;
            }
            let name = ingest_name(&ref_);
            let sys = &self.volume.sys;
            let known = self.volume.meta.ingest_note(&name)?;
            let known = known.filter(|note| note.mtime_ns == updated_ns && note.wall_ns <= sys.now_ns());
            let is_abandoned = options.ingest_age_ns == 0
                || known.as_ref().is_some_and(|note| is_older(sys.as_ref(), note, options.ingest_age_ns));
            if is_abandoned && (options.dry_run || self.ingests.discard(&ref_, updated_ns)?) {
                count += 1;
                self.abandoned.insert(ref_);
            } else {
                let (wall_ns, boot, boot_ns) = (sys.now_ns(), sys.boot_id(), sys.boot_ns());
                let new = Note { inode: 0, mtime_ns: updated_ns, wall_ns, boot, boot_ns };
                notes.push((name, known.unwrap_or(new)));
            }
        }
        if self.pending.is_some() {
            self.volume.meta.set_ingest_notes(&notes)?;
        }
        Ok(count)
    }

    /// The refs that live leases protect.
    fn leased_refs(&self) -> Result<HashSet<String>> {
        let mut refs = HashSet::new();
        for row in self.live_leases()? {
            refs.extend(self.volume.meta.leased_ingests(&row.lease.id)?);
        }
        Ok(refs)
    }
}
