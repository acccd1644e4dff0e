//! The status of ingests, and their removal, for callers other than the writer.

use super::control::{Found, Place, Whole};
use super::inner::{Backing, Phase};
use super::open::check_ref;
use super::{Ingest, Ingests, foreign};
use crate::error::{At, Error, Result};
use crate::format::names::ingest_name;
use crate::format::state::Holder;
use crate::model::Status;
use crate::sys::FileKind;
use crate::volume::lock::RefLock;

impl Ingests {
    /// The status of an ingest. If this store has it open, the offset is the current one, otherwise the durable one.
    pub fn status(&self, ref_: &str) -> Result<Status> {
        check_ref(ref_)?;
        self.volume.check_open()?;
        let status = match self.live_status(ref_)? {
            Some(status) => Some(status),
            None => self.stored_status(&ingest_name(ref_))?,
        };
        status.ok_or_else(|| Error::no_ingest(ref_))
    }

    /// The statuses of all ingests, ordered by ref. Other entries are skipped.
    pub fn statuses(&self) -> Result<Vec<Status>> {
        self.volume.check_open()?;
        let mut statuses = Vec::new();
        let Some(place) = Place::find_in(&self.volume) else {
            return Ok(statuses);
        };
        for entry in self.volume.sys.list(place.dir).at("list", || &place.path)? {
            if entry.kind != FileKind::Directory {
                continue;
            }
            if let Some(stored) = self.stored_status(&entry.name)? {
                statuses.push(self.live_status(&stored.ref_)?.unwrap_or(stored));
            }
        }
        statuses.sort_by(|one, other| one.ref_.cmp(&other.ref_));
        Ok(statuses)
    }

    /// Discard an ingest; on return that survives a power loss. A writer of this store that has it open is fenced.
    pub fn abort(&self, ref_: &str) -> Result<()> {
        self.abort_under(None, ref_)
    }

    /// Like `abort`; the lease no longer protects the ingest then.
    pub fn abort_under(&self, lease: Option<&str>, ref_: &str) -> Result<()> {
        check_ref(ref_)?;
        self.volume.check_writable()?;
        let place = Place::of(&self.volume)?;
        let name = ingest_name(ref_);
        let open = self.live.get(ref_);
        if let Some(backing) = open.map(|ingest| ingest.fence()).transpose()?.flatten() {
            let result = place.remove_durably(&name);
            if result.is_ok() {
                self.volume.leave_ingest(lease, ref_);
            }
            drop(backing);
            self.live.remove(ref_);
            return result;
        }
        let Some(_reserved) = self.live.reserve(ref_) else {
            return Err(self.held_here(ref_));
        };
        let _lock = self.take_ref(ref_)?;
        match place.find(&name)? {
            Found::Whole(_) => {
                place.remove_durably(&name)?;
                self.volume.leave_ingest(lease, ref_);
                Ok(())
            }
            Found::Garbage(_) => {
                place.remove(&name)?;
                Err(Error::no_ingest(ref_))
            }
            Found::Absent => Err(Error::no_ingest(ref_)),
        }
    }

    /// Whether a writer has an ingest open, in this process or another.
    pub(crate) fn is_held(&self, ref_: &str) -> Result<bool> {
        Ok(self.live.get(ref_).is_some() || self.volume.locks.try_ref(ref_)?.is_none())
    }

    /// Discard an ingest that no writer has open, unless it has changed since `updated_ns`. Returns whether it was discarded; the removal
    /// survives a power loss.
    pub(crate) fn discard(&self, ref_: &str, updated_ns: i64) -> Result<bool> {
        let (place, name) = (Place::of(&self.volume)?, ingest_name(ref_));
        let Some(_reserved) = self.live.reserve(ref_) else { return Ok(false) };
        let Some(_lock) = self.volume.locks.try_ref(ref_)? else { return Ok(false) };
        self.volume.locks.check_file(self.volume.root.dir())?;
        let is_same = match place.find(&name)? {
            Found::Whole(whole) => whole.status().updated_ns == updated_ns,
            Found::Absent | Found::Garbage(_) => false,
        };
        if is_same {
            place.remove_durably(&name)?;
        }
        Ok(is_same)
    }

    /// Remove the remains of ingests that cannot be resumed, because a process was killed while it created, committed or aborted one.
    pub(crate) fn remove_remains(&self) -> Result<()> {
        let place = Place::of(&self.volume)?;
        let is_remains = |name: &str| place.is_remains(name);
        let mut is_any = false;
        for entry in self.volume.sys.list(place.dir).at("list", || &place.path)? {
            if entry.kind != FileKind::Directory || !is_remains(&entry.name)? {
                continue;
            }
            let lock = self.volume.locks.try_ingest(&entry.name)?;
            // Another writer may have used the ref meanwhile.
            if lock.is_some() && is_remains(&entry.name)? {
                place.remove(&entry.name)?;
                is_any = true;
            }
        }
        if is_any { place.sync() } else { Ok(()) }
    }

    fn live_status(&self, ref_: &str) -> Result<Option<Status>> {
        let open = self.live.get(ref_);
        Ok(open.map(|ingest| ingest.live_status()).transpose()?.flatten())
    }

    fn stored_status(&self, name: &str) -> Result<Option<Status>> {
        let Some(place) = Place::find_in(&self.volume) else {
            return Ok(None);
        };
        match place.find(name)? {
            Found::Whole(whole) => Ok(Some(whole.status())),
            Found::Garbage(Some(dir)) if self.volume.read_only => {
                let status = foreign::status(place.sys, &dir).at("read", || place.path.join(name))?;
                Ok(status.filter(|status| ingest_name(&status.ref_) == name))
            }
            Found::Absent | Found::Garbage(_) => Ok(None),
        }
    }

    /// The error for a ref that is held by an ingest of this store.
    pub(super) fn held_here(&self, ref_: &str) -> Error {
        let since_ns = self.live.get(ref_).map(|ingest| ingest.since_ns);
        Error::Unavailable { name: ref_.to_owned(), holder: "this process".to_owned(), since_ns, local: true }
    }

    /// Take a ref. Fails with its holder if it is taken.
    pub(super) fn take_ref(&self, ref_: &str) -> Result<RefLock> {
        let lock = self.volume.locks.try_ref(ref_)?.ok_or_else(|| self.held_by_other(ref_))?;
        self.volume.locks.check_file(self.volume.root.dir())?;
        Ok(lock)
    }

    /// The error for a ref that is locked, but not by this store.
    fn held_by_other(&self, ref_: &str) -> Error {
        // The record is only shown to people. If it cannot be read, that must not replace this error.
        let holder = self.holder(ref_).ok().flatten();
        let text = match holder {
            Some(Holder { pid, .. }) if pid == std::process::id() => "this process".to_owned(),
            Some(Holder { pid, .. }) => format!("process {pid}"),
            None => "unknown".to_owned(),
        };
        let since_ns = holder.map(|holder| holder.since_ns);
        Error::Unavailable { name: ref_.to_owned(), holder: text, since_ns, local: false }
    }

    fn holder(&self, ref_: &str) -> Result<Option<Holder>> {
        match Place::of(&self.volume)?.find(&ingest_name(ref_))? {
            Found::Whole(whole) => Ok(whole.state.holder),
            Found::Absent | Found::Garbage(_) => Ok(None),
        }
    }
}

impl Ingest {
    /// The status while the ingest can still be written.
    fn live_status(&self) -> Result<Option<Status>> {
        let inner = self.lock_from_outside()?;
        Ok(matches!(inner.phase, Phase::Open).then(|| inner.status(&self.name)))
    }

    /// Take the resources from the writer; its next call fails with `Aborted`. `None` if the writer has no resources any more.
    fn fence(&self) -> Result<Option<Backing>> {
        let mut inner = self.lock_from_outside()?;
        inner.rejoin().ok();
        let Some(backing) = inner.backing.take() else {
            return Ok(None);
        };
        inner.phase = Phase::Aborted;
        inner.write_buffer.end(Error::Aborted { name: self.name.clone() });
        Ok(Some(backing))
    }
}

impl Whole {
    fn status(self) -> Status {
        let header = self.state.header.clone();
        let slot = self.state.usable(self.data.size).and_then(|index| self.state.slots[index].clone());
        Status {
            ref_: header.ref_,
            offset: slot.as_ref().map_or(0, |slot| slot.offset),
            total: slot.as_ref().and_then(|slot| slot.total),
            expected: slot.as_ref().and_then(|slot| slot.expected),
            started_ns: header.started_ns,
            updated_ns: slot.map_or(header.started_ns, |slot| slot.updated_ns),
        }
    }
}
