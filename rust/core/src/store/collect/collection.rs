//! One collection: its phases, one after the other.

use std::mem;
use std::sync::Arc;

use super::condemn::{self, Sweep};
use super::mark::{Marking, Roots};
use super::marks::{Keep, Lists, Marks};
use super::order::Order;
use super::pending::Pending;
use super::slice::Slice;
use super::unlinking::Unlinking;
use super::values::{Found, Options, Progress, Report};
use crate::error::Result;
use crate::store::ingest::Ingests;
use crate::sys::Process;
use crate::volume::Volume;
use crate::volume::lock::{CollectorLock, DigestLook};
use crate::waiting::Patience;

/// The number of blobs that are counted at once.
const COUNTED: usize = 8192;

/// The number of blobs that are reported at once.
const REPORTED: usize = 512;

/// The most passes of marking in a dry run.
const MOST_PASSES: usize = 4;

/// A collection in progress.
pub struct Collection {
    process: Process,
    options: Options,
    /// Held until the collection ends.
    _lock: Option<CollectorLock>,
    pub(super) sweep: Sweep,
    /// The bytes of all blobs, if the options need it.
    total: u64,
    /// The number of passes of a dry run, the state of the metadata before the last pass, and the marks of the pass before it.
    passes: (usize, i64, Option<Marks>),
    phase: Phase,
    found: Vec<Found>,
    report: Report,
}

enum Phase {
    Clean,
    Handshake(DigestLook),
    Begin,
    List(Lists),
    Compare(Marks, usize),
    Ingests,
    Remains,
    Roots(Roots),
    Look(usize),
    Unnote(String),
    Order(Order),
    Condemn(usize),
    Remove(Unlinking, usize),
    Show(usize),
    Count(usize),
    End,
}

impl Collection {
    pub(super) fn new(
        volume: Arc<Volume>,
        ingests: Arc<Ingests>,
        options: Options,
        lock: Option<CollectorLock>,
        number: u64,
    ) -> Self {
        let pending = (!options.dry_run).then(|| Pending::new(number));
        let marking = Marking::new(volume, ingests, pending);
        Self {
            process: Process::current(),
            options,
            _lock: lock,
            sweep: Sweep::new(number, marking),
            total: 0,
            passes: (0, 0, None),
            phase: if options.dry_run { Phase::Begin } else { Phase::Clean },
            found: Vec::new(),
            report: Report::default(),
        }
    }

    /// Work for about 2 ms. Returns whether the collection has ended.
    pub fn step(&mut self) -> Result<bool> {
        self.sweep.marking.volume.check_open()?;
        let sys = Arc::clone(&self.sweep.marking.volume.sys);
        let slice = Slice::step(sys.as_ref());
        loop {
            if self.sweep.marking.has_many_pending() {
                if !self.sweep.marking.record()? {
                    Patience::new().pause()?;
                    return Ok(false);
                }
            } else if !self.sweep.marking.is_settled() {
                if !self.sweep.marking.settle(&slice)? {
                    return Ok(false);
                }
            } else if !self.advance(&slice)? {
                return Ok(true);
            }
            if slice.is_over() {
                return Ok(false);
            }
        }
    }

    /// Do a part of the current phase, after all reached blobs have been followed. Returns false once the last phase has ended.
    fn advance(&mut self, slice: &Slice<'_>) -> Result<bool> {
        let phase = mem::replace(&mut self.phase, Phase::End);
        self.phase = match phase {
            Phase::Clean if condemn::clean(&self.sweep.marking.volume, slice)? => Phase::Clean,
            Phase::Clean => Phase::Handshake(DigestLook::default()),
            Phase::Handshake(look) => self.shake_hands(look)?,
            Phase::Begin => {
                self.passes = (self.passes.0 + 1, self.sweep.marking.volume.meta.version()?, self.passes.2.take());
                Phase::List(Lists::default())
            }
            Phase::List(mut lists) => {
                let marking = &mut self.sweep.marking;
                match lists.step(&marking.volume.root, marking.roots.is_some())? {
                    None => Phase::List(lists),
                    Some(marks) => {
                        marking.marks = marks;
                        self.passes.2.take().map_or(Phase::Ingests, |earlier| Phase::Compare(earlier, 0))
                    }
                }
            }
            Phase::Compare(earlier, next) => match self.sweep.marking.marks.compare(&earlier, next) {
                Some(next) => Phase::Compare(earlier, next),
                None => Phase::Ingests,
            },
            // A query why blobs are kept does not remove abandoned ingests: it reports the present state.
            Phase::Ingests => {
                if self.sweep.marking.roots.is_none() {
                    self.report.ingests = self.sweep.marking.discard_ingests(&self.options)?;
                }
                self.sweep.marking.clock = self.sweep.marking.volume.meta.boot_clock()?;
                if self.options.dry_run { Phase::Roots(Roots::Images(String::new())) } else { Phase::Remains }
            }
            Phase::Remains => {
                self.sweep.marking.ingests.remove_remains()?;
                self.sweep.marking.volume.forget_ended_leases()?;
                Phase::Roots(Roots::Images(String::new()))
            }
            Phase::Roots(mut roots) => {
                if self.sweep.marking.reach_roots(&mut roots)? {
                    Phase::Roots(roots)
                } else {
                    Phase::Look(0)
                }
            }
            Phase::Look(next) => match self.look(next)? {
                Some(next) => Phase::Look(next),
                None if self.must_begin_again()? => self.begin_again(),
                None if self.options.dry_run => self.order(),
                None => Phase::Unnote(String::new()),
            },
            Phase::Unnote(mut after) => {
                if self.sweep.marking.remove_notes(&mut after)? {
                    Phase::Unnote(after)
                } else {
                    self.order()
                }
            }
            phase => {
                let Some(phase) = self.sweep_on(phase)? else { return Ok(false) };
                phase
            }
        };
        Ok(true)
    }

    /// Do a part of a phase that follows the last look at the files. Returns the next phase; `None` at the end.
    fn sweep_on(&mut self, phase: Phase) -> Result<Option<Phase>> {
        Ok(Some(match phase {
            // A blob can only be condemned after its note has been written.
            Phase::Order(order) if !self.sweep.marking.is_recorded() => {
                if !self.sweep.marking.record()? {
                    Patience::new().pause()?;
                }
                Phase::Order(order)
            }
            Phase::Order(mut order) => {
                if order.step(&mut self.sweep.garbage, &self.sweep.marking.marks) {
                    Phase::Order(order)
                } else {
                    self.sweep.limit = self.excess();
                    if self.options.dry_run { Phase::Show(0) } else { Phase::Condemn(0) }
                }
            }
            Phase::Condemn(mut next) => {
                if self.sweep.condemn(&mut next)? {
                    Phase::Condemn(next)
                } else {
                    Phase::Remove(self.sweep.begin_unlinking(), 0)
                }
            }
            Phase::Remove(mut unlinking, next) => match self.remove(&mut unlinking, next)? {
                Some(next) => Phase::Remove(unlinking, next),
                None => Phase::Count(0),
            },
            Phase::Show(next) if self.show(next) => Phase::Show(next + 1),
            Phase::Show(_) => Phase::Count(0),
            Phase::Count(next) => {
                let Some(next) = self.count(next) else {
                    self.end();
                    return Ok(None);
                };
                Phase::Count(next)
            }
            _ => return Ok(None),
        }))
    }

    /// Wait, without taking a lock, until no other thread or process is publishing. A publisher that saw no collection has finished by then,
    /// and later publishers see the collection.
    fn shake_hands(&self, mut look: DigestLook) -> Result<Phase> {
        if self.sweep.marking.volume.locks.look_on(&mut look)? {
            return Ok(Phase::List(Lists::default()));
        }
        Patience::new().pause()?;
        Ok(Phase::Handshake(look))
    }

    fn look(&mut self, next: usize) -> Result<Option<usize>> {
        let after = self.sweep.marking.look(next, self.options.grace_ns, &mut self.sweep.garbage)?;
        if self.options.max_bytes.is_some() {
            for number in next..after.unwrap_or(self.sweep.marking.marks.listed()) {
                if let Some(stat) = self.sweep.marking.volume.stat_blob(&self.sweep.marking.marks.digest(number))? {
                    self.total += stat.size;
                }
            }
        }
        Ok(after)
    }

    /// Whether a blob may have moved from a root that had not been read yet to a root that had been read. A collection learns this from the
    /// log, which does not exist for a dry run. A query why blobs are kept begins again by itself.
    fn must_begin_again(&self) -> Result<bool> {
        let (passes, version, _) = self.passes;
        let is_dry_run = self.options.dry_run && self.sweep.marking.roots.is_none();
        Ok(is_dry_run && passes < MOST_PASSES && self.sweep.marking.volume.meta.version()? != version)
    }

    /// Begin another pass of marking. A blob that a root kept in an earlier pass is not removed.
    fn begin_again(&mut self) -> Phase {
        let again = self.sweep.marking.again();
        let mut before = mem::replace(&mut self.sweep, Sweep::new(0, again));
        self.passes.2 = Some(mem::take(&mut before.marking.marks));
        self.total = 0;
        Phase::Begin
    }

    /// Begin to order the garbage, after all roots have been followed and all files have been looked at.
    fn order(&self) -> Phase {
        Phase::Order(Order::new(self.options.max_bytes.is_some()))
    }

    /// The number of bytes to remove; `None` for all removable garbage.
    fn excess(&self) -> Option<u64> {
        self.options.max_bytes.map(|most| self.total.saturating_sub(most))
    }

    /// Remove the next file of a condemned blob, and report as many blobs, from number `next` on. Returns where to continue, or `None` at the
    /// end. Blobs are reported in the order in which they were condemned; all of them have lost their names before.
    fn remove(&mut self, unlinking: &mut Unlinking, next: usize) -> Result<Option<usize>> {
        let removed = unlinking.step()?;
        // After the last file: the remaining blobs lost their last name when they were condemned.
        let end = next + removed.unwrap_or(REPORTED);
        for number in next..end {
            let Some(found) = self.sweep.found(number) else { return Ok(removed.map(|_| number)) };
            self.report.blobs += 1;
            self.report.bytes += found.size;
            self.found.push(found);
        }
        Ok(Some(end))
    }

    /// Report for one piece of garbage whether it would be removed. Returns false at the end.
    fn show(&mut self, next: usize) -> bool {
        let Some(piece) = self.sweep.garbage.pieces.get(next).copied() else { return false };
        let is_enough = self.excess().is_some_and(|excess| self.report.bytes >= excess);
        let goes = !is_enough && self.sweep.marking.marks.would_go(piece.number);
        if goes {
            self.sweep.marking.marks.set_gone(piece.number);
            self.report.blobs += 1;
            self.report.bytes += piece.size;
        }
        if self.sweep.marking.marks.is_garbage(piece.number) {
            let digest = self.sweep.marking.marks.digest(piece.number);
            self.found.push(Found { digest, size: piece.size, since_ns: piece.since_ns, goes });
        }
        true
    }

    /// Count the next blobs and pieces that stay, from number `next` on. Returns where to continue, or `None` at the end.
    fn count(&mut self, next: usize) -> Option<usize> {
        let marks = &self.sweep.marking.marks;
        let end = next + COUNTED;
        for number in next..end.min(marks.listed()) {
            match marks.keep(number) {
                Some(keep) if keep != Keep::Spared && !marks.is_gone(number) => {
                    self.report.kept[keep as usize - 1] += 1;
                }
                _ => {}
            }
        }
        for piece in self.sweep.garbage.pieces.iter().take(end).skip(next) {
            if marks.is_garbage(piece.number) && !marks.is_gone(piece.number) {
                self.report.spared += 1;
                self.report.spared_bytes += piece.size;
            }
        }
        (end < marks.listed()).then_some(end)
    }

    fn end(&mut self) {
        if let Some(most) = self.options.max_bytes {
            self.report.missed_bytes = self.total.saturating_sub(self.report.bytes).saturating_sub(most);
        }
        self.report.warnings = mem::take(&mut self.sweep.marking.warnings);
        self.stop();
        if self.sweep.marking.pending.is_some() {
            self.sweep.marking.volume.keep_reserve();
        }
    }

    /// Tell writers that no collection is running any more.
    fn stop(&mut self) {
        let number = mem::take(&mut self.sweep.number);
        if number > 0 && self.process.is_current() && self.sweep.marking.volume.check_open().is_ok() {
            self.sweep.marking.volume.meta.end_collection(number);
        }
    }

    /// Take the garbage that was found since the last call.
    pub fn take_found(&mut self) -> Vec<Found> {
        mem::take(&mut self.found)
    }

    /// The progress of the collection.
    pub fn progress(&self) -> Progress {
        match self.phase {
            Phase::Remove(..) | Phase::Count(_) | Phase::End => {
                Progress { removes: true, done: self.report.bytes, total: Some(self.sweep.bytes) }
            }
            _ => Progress { removes: false, done: self.sweep.marking.visited, total: None },
        }
    }

    /// Whether all blobs that roots keep are marked.
    pub(super) fn is_marked(&self) -> bool {
        self.sweep.marking.is_settled()
            && matches!(self.phase, Phase::Order(_) | Phase::Show(_) | Phase::Count(_) | Phase::End)
    }

    /// The results, when the collection has ended.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.stop();
    }
}
