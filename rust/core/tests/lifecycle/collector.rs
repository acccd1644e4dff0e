//! The program of the collector, a step at a time: mark, note, condemn, remove.

use super::condemn::empty;
use super::scenario::{Fault, Scenario, Sync};
use super::world::{B, BOTH, COLLECTOR, Cycle, Edges, Lease, M, Mask, Note, Pc, State, bit, holder, places};
use super::writers::go;

type Step = Option<&'static str>;

impl Scenario {
    /// Let a collector make its next step.
    pub fn step_collector(&self, state: &mut State, actor: usize) -> Step {
        match state.actors[actor].pc {
            Pc::Start => self.take_collector_lock(state, actor),
            Pc::CleanSync | Pc::Clean => self.clean(state, actor),
            Pc::Activate => self.activate(state, actor),
            Pc::Handshake | Pc::HandshakeOthers | Pc::HandshakeRest => self.look_at_locks(state, actor),
            Pc::ReadNewName => Some(self.read_name(state, actor, 1, Pc::ReadOldName)),
            Pc::ReadOldName => Some(self.read_name(state, actor, 0, Pc::ReadLabels)),
            Pc::ReadLabels => {
                let roots = state.db.roots & state.present();
                self.keep(state, actor, roots);
                go(state, actor, Pc::ReadLeases, "reads the labels")
            }
            Pc::ReadLeases => Some(self.read_leases(state, actor)),
            Pc::ListM => Some(self.list(state, actor, M, Pc::ListB)),
            Pc::ListB => Some(self.list(state, actor, B, Pc::Settle)),
            Pc::Settle => self.settle(state, actor),
            Pc::Next => Some(self.next(state, actor)),
            Pc::Remove => Some(self.remove(state, actor)),
            Pc::Finish => self.finish(state, actor),
            _ => self.condemn(state, actor),
        }
    }

    fn take_collector_lock(&self, state: &mut State, actor: usize) -> Step {
        if !self.has(Fault::TwoCollectors) {
            if state.collector_lock != 0 {
                return go(state, actor, Pc::Done, "finds another collector at work, and says so");
            }
            state.collector_lock = holder(actor);
        }
        let left = state.actors[actor].cycle.left;
        state.actors[actor].cycle = Cycle { left, ..Cycle::default() };
        let is_clean = state.condemned.iter().all(|entry| entry.now == 0) || self.has(Fault::LeavesWhatIsCondemned);
        go(state, actor, if is_clean { self.beginning() } else { Pc::CleanSync }, "takes the collector's lock")
    }

    /// Remove what an earlier collector condemned and did not remove. Its rename may not be on the disk yet.
    fn clean(&self, state: &mut State, actor: usize) -> Step {
        if state.actors[actor].pc == Pc::CleanSync {
            state.sync_blobs();
            state.sync_condemned();
            return go(state, actor, Pc::Clean, "syncs the directories");
        }
        for digest in places(BOTH) {
            let file = state.condemned[digest].now;
            if self.has(Fault::RenamesBack) && file != 0 && state.file(digest) == 0 {
                state.blobs[digest].set(file);
            }
            empty(state, digest);
        }
        go(state, actor, self.beginning(), "deals with what an earlier collection condemned")
    }

    fn beginning(&self) -> Pc {
        if self.has(Fault::LooksBeforeItBegins) { Pc::Handshake } else { Pc::Activate }
    }

    /// From here on, whatever protects a blob is logged in the transaction that does so.
    fn activate(&self, state: &mut State, actor: usize) -> Step {
        self.write(state, Sync::Cheap, |db| {
            db.cycle += 1;
            db.is_active = true;
            db.log = 0;
            for lease in 0..2 {
                if !db.leases[lease].exists {
                    db.leases[lease] = Lease::default();
                }
            }
        })?;
        state.actors[actor].cycle.number = state.db.cycle;
        let next = if self.has(Fault::LooksBeforeItBegins) { Pc::ReadNewName } else { Pc::Handshake };
        go(state, actor, next, "begins a collection")
    }

    /// Look for publishers, and take nothing: first in the table of this process, then in the kernel's list, which does not say what
    /// this process has, one digest after the other. A publisher that takes its lock after the look sees that the collection is under way.
    fn look_at_locks(&self, state: &mut State, actor: usize) -> Step {
        let pc = state.actors[actor].pc;
        let (is_own, digests) = match pc {
            Pc::Handshake => (true, BOTH),
            Pc::HandshakeOthers => (false, bit(B)),
            _ => (false, bit(M)),
        };
        let is_blind = self.has(Fault::NoHandshake)
            || self.has(if is_own { Fault::LooksAtOthersOnly } else { Fault::LooksAtItselfOnly })
            || (pc == Pc::HandshakeRest && self.has(Fault::LooksAtOneDigestOnly));
        let is_seen = |lock: u8| lock != 0 && (lock == holder(self.own_writer)) == is_own;
        if !is_blind && places(digests).any(|digest| is_seen(state.digest_locks[digest])) {
            return None;
        }
        match pc {
            Pc::Handshake => go(state, actor, Pc::HandshakeOthers, "finds no publisher in its own process"),
            Pc::HandshakeOthers => go(state, actor, Pc::HandshakeRest, "finds no other publisher of the blob"),
            _ if self.has(Fault::LooksBeforeItBegins) => go(state, actor, Pc::Activate, "finds no other publisher"),
            _ => go(state, actor, Pc::ReadNewName, "finds no other publisher of the document"),
        }
    }

    fn read_name(&self, state: &mut State, actor: usize, slot: usize, next: Pc) -> &'static str {
        if state.db.names & bit(slot) != 0 {
            self.keep(state, actor, bit(M));
        }
        state.actors[actor].pc = next;
        "reads a page of image names"
    }

    fn read_leases(&self, state: &mut State, actor: usize) -> &'static str {
        for lease in 0..2 {
            let row = state.db.leases[lease];
            if row.exists && state.held_leases & bit(lease) != 0 {
                self.keep(state, actor, row.entries);
            } else if row.exists {
                state.actors[actor].cycle.dead_leases |= bit(lease);
            }
        }
        state.actors[actor].pc = Pc::ListM;
        "reads the leases"
    }

    /// Look at a file that no root keeps: a young note spares it, or none.
    fn list(&self, state: &mut State, actor: usize, digest: usize, next: Pc) -> &'static str {
        let file = state.file(digest);
        state.actors[actor].pc = next;
        state.actors[actor].cycle.files[digest] = file;
        if file == 0 {
            return if digest == M { "lists no document" } else { "lists no blob" };
        }
        if !is_noted(state, digest) || state.db.notes[digest].wall > state.wall() {
            // A note from the future is made again: the clock was wrong when it was written, or is now.
            state.actors[actor].cycle.to_note |= bit(digest);
            if self.grace == 0 {
                state.actors[actor].cycle.old |= bit(digest);
            } else {
                self.spare(state, actor, bit(digest));
            }
        } else if self.is_old(state, digest) {
            state.actors[actor].cycle.old |= bit(digest);
        } else {
            self.spare(state, actor, bit(digest));
        }
        if digest == M { "lists the document" } else { "lists the blob" }
    }

    /// Write the notes, in a short transaction; those of blobs that are kept go.
    fn settle(&self, state: &mut State, actor: usize) -> Step {
        let (cycle, file) = (state.actors[actor].cycle, [state.file(M), state.file(B)]);
        let note = Note { file: 0, wall: state.wall(), boot: state.boot, boot_id: state.boot_id };
        let is_truncated = self.has(Fault::LogIsTruncated);
        // Writers rely on a missing note, so its removal must not be undone.
        let removes = places(cycle.kept).any(|digest| state.db.notes[digest].file != 0);
        let is_durable = removes && !self.has(Fault::KeptNoteIsNotDurable);
        self.write(state, if is_durable { Sync::Durable } else { Sync::Cheap }, |db| {
            for digest in places(BOTH) {
                let mine = Note { file: cycle.files[digest], ..note };
                if cycle.kept & bit(digest) != 0 {
                    db.notes[digest] = Note::default();
                } else if cycle.to_note & bit(digest) != 0 && mine.file == file[digest] {
                    db.notes[digest] = mine;
                }
            }
            for lease in places(cycle.dead_leases) {
                db.leases[lease] = Lease::default();
            }
            if is_truncated {
                db.log = 0;
            }
        })?;
        self.read_log(state, actor);
        let cycle = &mut state.actors[actor].cycle;
        cycle.old &= !(cycle.kept | cycle.spared);
        cycle.to_note = 0;
        go(state, actor, Pc::Next, "notes what nothing keeps, and reads the log")
    }

    /// Documents before what they name.
    fn next(&self, state: &mut State, actor: usize) -> &'static str {
        let cycle = state.actors[actor].cycle;
        let order: [u8; 2] = if self.has(Fault::BlobBeforeItsDocument) { [1, 0] } else { [0, 1] };
        let found = order.into_iter().find(|digest| cycle.old & (1 << digest) != 0);
        let (next, what) = match found {
            Some(digest) => {
                state.actors[actor].cycle.at = digest;
                (Pc::TryLock, "chooses a blob to condemn")
            }
            None if self.has(Fault::LeavesWhatIsCondemned) => (Pc::Finish, "removes nothing"),
            None if cycle.doomed != 0 || state.condemned.iter().any(|entry| entry.now != 0) => {
                (Pc::Remove, "has condemned all")
            }
            None => (Pc::Finish, "has condemned all"),
        };
        state.actors[actor].pc = next;
        what
    }

    fn finish(&self, state: &mut State, actor: usize) -> Step {
        let number = state.actors[actor].cycle.number;
        self.write(state, Sync::Cheap, |db| {
            if db.cycle == number {
                db.is_active = false;
                db.log = 0;
            }
        })?;
        if state.collector_lock == holder(actor) {
            state.collector_lock = 0;
        }
        let left = state.actors[actor].cycle.left - 1;
        state.actors[actor].cycle = Cycle { left, ..Cycle::default() };
        go(state, actor, if left > 0 { Pc::Start } else { Pc::Done }, "ends the collection")
    }

    /// Mark what is new in the log; whether there was something.
    pub(super) fn read_log(&self, state: &mut State, actor: usize) -> bool {
        let new = state.db.log & !state.actors[actor].cycle.seen;
        state.actors[actor].cycle.seen |= new;
        self.spare(state, actor, new);
        new != 0
    }

    /// A root keeps these, and what they name.
    fn keep(&self, state: &mut State, actor: usize, digests: Mask) {
        let reached = self.reach(state, digests);
        state.actors[actor].cycle.kept |= reached;
    }

    /// This collection does not condemn these, nor what they name.
    pub(super) fn spare(&self, state: &mut State, actor: usize, digests: Mask) {
        let reached = self.reach(state, digests);
        let cycle = &mut state.actors[actor].cycle;
        cycle.spared |= reached;
        cycle.old &= !reached;
    }

    /// Follow the edges: from labels, and from the document, which is read once.
    fn reach(&self, state: &mut State, digests: Mask) -> Mask {
        if digests & bit(M) == 0 {
            return digests;
        }
        if state.db.edges == Edges::Unknown {
            if state.file(M) != 0 {
                state.db.edges = Edges::Read;
            } else if self.has(Fault::MissingDocumentHasNoEdges) {
                state.db.edges = Edges::None;
            }
        }
        let names_blob = state.db.label_edge || (self.has_edge && state.db.edges == Edges::Read);
        digests | if names_blob { bit(B) } else { 0 }
    }

    /// Whether the grace time since the note has passed by both clocks; after a reboot, by the wall clock.
    pub(super) fn is_old(&self, state: &State, digest: usize) -> bool {
        if self.grace == 0 {
            return true;
        }
        let note = state.db.notes[digest];
        let is_this_boot = note.boot_id == state.boot_id && !self.has(Fault::ComparesTheWallClockOnly);
        state.wall() - note.wall >= self.grace && (!is_this_boot || state.boot - note.boot >= self.grace)
    }
}

/// A new collector at the place of the first.
pub(super) fn start_collector(state: &mut State) {
    state.actors[COLLECTOR] = super::world::Actor::new(1);
}

/// Whether there is a note of the file that now has the name.
pub(super) fn is_noted(state: &State, digest: usize) -> bool {
    let noted = state.db.notes[digest].file;
    noted != 0 && noted == state.file(digest)
}
