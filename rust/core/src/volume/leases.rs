//! Leases: they protect blobs and ingests to which nothing refers from garbage collection.
//!
//! A lease is a row of `meta.db`, and so is each of its resources. A lease of a process also holds a byte of the file `lock`:
//! when the process ends for whatever reason, the kernel frees the byte, and the row has no effect. A lease that outlives its
//! process ends by a call or at its time.
//!
//! | Lease | Its entries survive |
//! | --- | --- |
//! | of a process | the process, which ends with the machine at the latest: no sync is needed |
//! | with an ID and a time | a power loss |
//!
//! An entry is written before the caller looks for the blob. A collection checks the entries and removes a blob in one transaction,
//! so it either finds the entry, or has removed the blob before the caller looks for it.

use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::model::{Event, EventKind, Labels, Lease, Resources, check_labels};
use crate::volume::Volume;
use crate::volume::events::{Report, done};
use crate::volume::meta::{LeaseRow, Leases};
use crate::waiting::Patience;

impl Volume {
    /// Create a lease that outlives the process and ends after `expires_ns`; on return it survives a power loss.
    pub fn create_lease(&self, id: &str, labels: &Labels, expires_ns: i64) -> Result<Lease> {
        self.check_writable()?;
        check_labels(labels)?;
        self.insert_lease(id, labels, Some(expires_ns), None)
    }

    /// Create a lease that ends with this process, with this store, by [`Volume::end_lease`], or after `expires_ns`.
    pub fn begin_lease(&self, id: &str, labels: &Labels, expires_ns: Option<i64>) -> Result<Lease> {
        self.check_writable()?;
        check_labels(labels)?;
        // The lock is taken before the row is written: no process may find the row without the sign that its process lives.
        let lock = self.locks.try_lease(id)?.ok_or_else(|| Error::LeaseExists { lease: id.to_owned() })?;
        self.own_leases.insert(id, lock);
        let result = self.insert_lease(id, labels, expires_ns, Some(std::process::id()));
        if result.is_err() {
            self.own_leases.remove(id);
        }
        result
    }

    /// End a lease of `begin_lease`. This cannot fail: a row that cannot be removed has no effect without its lock.
    pub fn end_lease(&self, id: &str) {
        if self.check_open().is_ok() && self.own_leases.has(id) {
            let report = self.begin_lease_event(EventKind::LeaseEnded, id, &Labels::new(), self.sys.now_ns());
            // The row is removed first: a row without a process is garbage that the next new lease would have to remove.
            self.meta.forget_lease(id);
            self.own_leases.remove(id);
            done(report);
        }
    }

    fn insert_lease(&self, id: &str, labels: &Labels, expires_ns: Option<i64>, process: Option<u32>) -> Result<Lease> {
        let ended = self.ended_leases(process.map(|_| id))?;
        let created_ns = self.sys.now_ns();
        let after = |ns: i64| expires_ns.map(|expires_ns| ns.saturating_add(expires_ns));
        let lease =
            Lease { id: id.to_owned(), created_ns, expires_ns: after(created_ns), process, labels: labels.clone() };
        let boot = self.sys.boot_id().zip(after(self.sys.boot_ns()));
        let ends = self.begin_ends(&ended);
        let report = self.begin_lease_event(EventKind::LeaseBegun, id, labels, created_ns);
        let row = LeaseRow { lease, boot };
        let removed = self.meta.create_leases(process.is_none(), |leases| {
            let is_ended = |held: &Lease| ended.iter().any(|each| each.id == id && each.created_ns == held.created_ns);
            if leases.get(id)?.is_some_and(|held| !is_ended(&held.lease)) {
                return Ok(Err(Error::LeaseExists { lease: id.to_owned() }));
            }
            let removed = leases.remove_all(&ended)?;
            leases.put(&row)?;
            Ok(Ok(removed))
        })?;
        done(ends.into_iter().zip(removed).filter_map(|(end, is_removed)| end.filter(|_| is_removed)));
        done(report);
        Ok(row.lease)
    }

    /// Remove the leases that have ended by themselves: their time has passed, or their process has ended. They have no effect before the
    /// removal either, but only the removal gives the event.
    pub(crate) fn forget_ended_leases(&self) -> Result<()> {
        let ended = self.ended_leases(None)?;
        if !ended.is_empty() {
            let ends = self.begin_ends(&ended);
            let removed = self.meta.forget_leases(&ended);
            done(ends.into_iter().zip(removed).filter_map(|(end, is_removed)| end.filter(|_| is_removed)));
        }
        Ok(())
    }

    /// Begin the events of leases that have ended by themselves. Each is done if its row is removed here.
    fn begin_ends(&self, ended: &[Lease]) -> Vec<Option<Arc<Report>>> {
        let at_ns = self.sys.now_ns();
        let begin = |lease: &Lease| self.begin_lease_event(EventKind::LeaseEnded, &lease.id, &Labels::new(), at_ns);
        ended.iter().map(begin).collect()
    }

    /// Begin the event of a lease before the lease is changed. The event is done after the change.
    fn begin_lease_event(&self, kind: EventKind, id: &str, labels: &Labels, at_ns: i64) -> Option<Arc<Report>> {
        let event =
            || Event { lease: Some(id.to_owned()), labels: Arc::new(labels.clone()), ..Event::new(kind, at_ns) };
        self.events().begin(event)
    }

    /// The leases that have ended and still have rows. The caller holds the byte of `new` and has not written its row yet, so a row of a
    /// process lease with this ID belongs to an earlier lease.
    fn ended_leases(&self, new: Option<&str>) -> Result<Vec<Lease>> {
        let mut ended = Vec::new();
        for row in self.meta.leases()? {
            let is_earlier = row.lease.process.is_some() && new == Some(row.lease.id.as_str());
            if is_earlier || self.end_of(&row)?.is_some() {
                ended.push(row.lease);
            }
        }
        Ok(ended)
    }

    /// Return a lease.
    pub fn lease(&self, id: &str) -> Result<Lease> {
        self.check_open()?;
        match self.meta.lease(id)? {
            Some(row) if self.end_of(&row)?.is_none() => Ok(row.lease),
            _ => Err(no_lease(id)),
        }
    }

    /// Return the leases that match, by their IDs.
    pub fn leases(&self, filter: &Filter) -> Result<Vec<Lease>> {
        self.check_open()?;
        let mut found = Vec::new();
        for row in self.meta.leases()? {
            if filter.matches(&row.lease) && self.end_of(&row)?.is_none() {
                found.push(row.lease);
            }
        }
        Ok(found)
    }

    /// Return the resources that a lease protects.
    pub fn lease_resources(&self, id: &str) -> Result<Resources> {
        self.lease(id)?;
        self.meta.lease_resources(id)
    }

    /// Make a lease protect resources, all of them; on return the entries survive a power loss, or the process of the lease.
    pub fn add_to_lease(&self, id: &str, resources: &Resources) -> Result<()> {
        self.change_lease(id, &resources.digests, |leases| leases.enter(id, resources))
    }

    /// Remove resources from a lease; those that it does not protect are skipped.
    pub fn remove_from_lease(&self, id: &str, resources: &Resources) -> Result<()> {
        self.change_lease(id, &[], |leases| leases.leave(id, resources))
    }

    /// End a lease; on return its end survives a power loss. A caller that works under it gets `LeaseEnded`.
    pub fn delete_lease(&self, id: &str) -> Result<()> {
        let report = self.begin_lease_event(EventKind::LeaseEnded, id, &Labels::new(), self.sys.now_ns());
        self.with_reserve(|| self.change_lease(id, &[], |leases| leases.remove(id, None).map(drop)))?;
        done(report);
        Ok(())
    }

    fn change_lease(
        &self,
        id: &str,
        entered: &[Digest],
        run: impl Fn(&Leases<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        self.check_writable()?;
        // This comes before the transaction, because it checks a lock of another file.
        self.lease(id)?;
        let durable = !self.own_leases.has(id);
        Patience::until(|| {
            self.meta.try_change_leases(durable, entered, |leases| match leases {
                Some(leases) if leases.get(id)?.is_some() => run(leases).map(Ok),
                _ => Ok(Err(no_lease(id))),
            })
        })
    }

    /// Add blobs to the caller's lease, if it has one, before it looks for them or stores them. The ingest `committed` is removed from the
    /// lease in the same transaction.
    pub(crate) fn enter(&self, lease: Option<&str>, digests: &[Digest], committed: &str) -> Result<()> {
        let Some(id) = lease else { return Ok(()) };
        let resources = Resources { digests: digests.to_vec(), refs: Vec::new() };
        Patience::until(|| self.try_enter(id, &resources, committed))
    }

    /// Add an ingest that begins, and its expected blob, to the caller's lease.
    pub(crate) fn enter_ingest(&self, lease: Option<&str>, ref_: &str, expected: Option<&Digest>) -> Result<()> {
        let Some(id) = lease else { return Ok(()) };
        let resources = Resources { refs: vec![ref_.to_owned()], digests: expected.copied().into_iter().collect() };
        Patience::until(|| self.try_enter(id, &resources, ""))
    }

    /// Remove an ingest that has ended from the caller's lease. If the entry cannot be removed soon, it remains, and protects nothing.
    pub(crate) fn leave_ingest(&self, lease: Option<&str>, ref_: &str) {
        let Some(id) = lease else { return };
        let resources = Resources { refs: vec![ref_.to_owned()], digests: Vec::new() };
        Patience::briefly(|| Ok(self.meta.try_leave_lease(id, &resources).then_some(()))).ok();
    }

    /// Make one attempt to add resources to a lease. Returns `None`, without a change, while another process is writing.
    pub(crate) fn try_enter(&self, id: &str, resources: &Resources, committed: &str) -> Result<Option<()>> {
        let durable = !self.own_leases.has(id);
        let ended = |reason| Error::LeaseEnded { lease: id.to_owned(), reason };
        self.meta.try_change_leases(durable, &resources.digests, |leases| {
            let Some(leases) = leases else { return Ok(Err(ended(DELETED))) };
            let Some(row) = leases.get(id)? else { return Ok(Err(ended(DELETED))) };
            match self.end_of(&row) {
                Ok(None) => {}
                Ok(Some(reason)) => return Ok(Err(ended(reason))),
                Err(error) => return Ok(Err(error)),
            }
            leases.enter(id, resources)?;
            if !committed.is_empty() {
                leases.leave(id, &Resources { refs: vec![committed.to_owned()], ..Resources::default() })?;
            }
            Ok(Ok(()))
        })
    }

    /// The reason why a lease has ended; `None` if it has not.
    pub(crate) fn end_of(&self, row: &LeaseRow) -> Result<Option<&'static str>> {
        let Lease { id, process, .. } = &row.lease;
        if process.is_some() && !self.locks.is_lease_held(id, self.root.dir())? {
            return Ok(Some("its process has ended"));
        }
        Ok(self.has_expired(row).then_some(EXPIRED))
    }

    /// Whether the time of a lease has passed by the wall clock and, in the same boot, also by the clock that cannot be set.
    fn has_expired(&self, row: &LeaseRow) -> bool {
        let Some(expires_ns) = row.lease.expires_ns else { return false };
        if self.sys.now_ns() < expires_ns {
            return false;
        }
        match &row.boot {
            Some((boot, boot_expires_ns)) if self.sys.boot_id().as_ref() == Some(boot) => {
                self.sys.boot_ns() >= *boot_expires_ns
            }
            _ => true,
        }
    }
}

const DELETED: &str = "deleted";
const EXPIRED: &str = "expired";

fn no_lease(id: &str) -> Error {
    Error::NotFound { kind: "lease", name: id.to_owned() }
}
