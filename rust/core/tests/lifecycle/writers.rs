//! The programs of the writers, a step at a time. None says that an actor has to wait; then nothing was changed.

use super::scenario::{Fault, Kind, Scenario, Sync};
use super::world::{B, Edges, Lease, M, Mask, Note, Pc, State, bit, holder};

type Step = Option<&'static str>;

impl Scenario {
    /// Let a writer make its next step.
    pub fn step_writer(&self, state: &mut State, actor: usize) -> Step {
        match self.writers[actor] {
            Kind::Put(digest) | Kind::Leased(digest) => self.put(state, actor, digest),
            Kind::Import { is_leased } if state.actors[actor].pc == Pc::SetName => {
                self.set_name(state, actor, 0, if is_leased { Pc::EndLease } else { Pc::Done })
            }
            Kind::Import { .. } if state.actors[actor].answered == 0 => self.put(state, actor, B),
            Kind::Import { .. } => self.put(state, actor, M),
            Kind::Name => self.set_name(state, actor, 0, Pc::Done),
            Kind::Move if state.actors[actor].pc == Pc::Start => self.set_name(state, actor, 1, Pc::DropName),
            Kind::Move => self.drop_name(state, actor),
            Kind::Root => self.label(state, actor, B),
            Kind::Edge => self.label(state, actor, M),
            Kind::Read => self.read_edges(state, actor),
            Kind::Replace => self.replace(state, actor),
        }
    }

    /// Ask for the note and remove it, then look for the file without a lock. Where there is none, publish a new one.
    fn put(&self, state: &mut State, actor: usize, digest: usize) -> Step {
        match state.actors[actor].pc {
            Pc::Start if self.is_leased(actor) => self.begin_lease(state, actor),
            Pc::Leasing => self.begin_lease(state, actor),
            Pc::Enter => self.enter(state, actor, digest),
            Pc::Start | Pc::Ask => Some(self.ask(state, actor, digest)),
            Pc::Unnote => self.unnote(state, actor, digest),
            Pc::Find => Some(self.find(state, actor, digest)),
            Pc::Lock => lock(state, actor, digest),
            Pc::Look => Some(self.look(state, actor, digest)),
            Pc::WriteThere => Some(self.write_there(state, actor, digest)),
            Pc::WriteNew => Some(self.write_new(state, actor, digest)),
            Pc::Link => {
                state.make(digest);
                state.actors[actor].file = state.file(digest);
                go(state, actor, Pc::Unlock, "gives a new file the blob's name")
            }
            Pc::Unlock => {
                unlock(state, actor, digest);
                go(state, actor, self.synced(), "gives back the digest's lock")
            }
            Pc::Sync => {
                state.sync_blobs();
                go(state, actor, Pc::Answer, "syncs the directory")
            }
            Pc::Answer => Some(self.answer(state, actor, digest)),
            Pc::StampLate => {
                self.write(state, Sync::Durable, |db| db.notes[digest] = Note::default())?;
                go(state, actor, Pc::Done, "removes the note of the blob")
            }
            Pc::EndLease => self.end_lease(state, actor),
            other => unreachable!("a put has no step {other:?}"),
        }
    }

    /// A lease has a lock, which goes with its process, and a row. A reader of the row asks for the lock.
    fn begin_lease(&self, state: &mut State, actor: usize) -> Step {
        let is_first = state.actors[actor].pc == Pc::Start;
        let next = match is_first {
            true => Pc::Leasing,
            false if self.has(Fault::LeaseHasNoEntries) => Pc::Ask,
            false if self.has(Fault::EntersAfterTheLook) => Pc::Find,
            false => Pc::Enter,
        };
        if is_first != self.has(Fault::LeaseRowBeforeItsLock) {
            state.held_leases |= bit(actor);
            return go(state, actor, next, "takes the lock of its lease");
        }
        let row = Lease { exists: true, entries: 0 };
        self.write(state, Sync::Cheap, |db| db.leases[actor] = row)?;
        go(state, actor, next, "writes the row of its lease")
    }

    fn end_lease(&self, state: &mut State, actor: usize) -> Step {
        self.write(state, Sync::Cheap, |db| db.leases[actor] = Lease::default())?;
        state.held_leases &= !bit(actor);
        state.owed.leased[actor] = 0;
        go(state, actor, Pc::Done, "ends its lease")
    }

    /// The step before the answer: where no power can fail, a sync makes no difference.
    fn synced(&self) -> Pc {
        if self.budget.cuts > 0 { Pc::Sync } else { Pc::Answer }
    }

    fn enter(&self, state: &mut State, actor: usize, digest: usize) -> Step {
        self.write(state, Sync::Cheap, |db| {
            db.leases[actor].entries |= bit(digest);
            db.log(bit(digest));
        })?;
        let next = if self.has(Fault::EntersAfterTheLook) { self.synced() } else { Pc::Ask };
        go(state, actor, next, "enters the blob into its lease")
    }

    fn ask(&self, state: &mut State, actor: usize, digest: usize) -> &'static str {
        state.actors[actor].since = state.boot;
        let has_looked = self.has(Fault::LooksBeforeItAsks);
        if has_looked && state.actors[actor].pc == Pc::Start {
            return self.find(state, actor, digest);
        }
        let is_due = state.db.notes[digest].file != 0;
        let removes = is_due && !self.has(Fault::NeverStamps) && !self.has(Fault::StampsAfterTheAnswer);
        let next = if has_looked { self.synced() } else { Pc::Find };
        state.actors[actor].pc = if removes { Pc::Unnote } else { next };
        "asks for the note"
    }

    fn unnote(&self, state: &mut State, actor: usize, digest: usize) -> Step {
        let sync = if self.has(Fault::StampIsNotDurable) { Sync::Cheap } else { Sync::Durable };
        self.write(state, sync, |db| {
            db.notes[digest] = Note::default();
            db.log(bit(digest));
        })?;
        let next = if self.has(Fault::LooksBeforeItAsks) { self.synced() } else { Pc::Find };
        go(state, actor, next, "removes the note")
    }

    /// Look for the file, without a lock.
    fn find(&self, state: &mut State, actor: usize, digest: usize) -> &'static str {
        state.actors[actor].file = state.file(digest);
        let there = if self.has(Fault::LooksBeforeItAsks) {
            Pc::Ask
        } else if self.has(Fault::EntersAfterTheLook) {
            Pc::Enter
        } else {
            self.synced()
        };
        let is_there = state.file(digest) != 0;
        state.actors[actor].pc = if is_there { there } else { Pc::Lock };
        if is_there { "finds the blob" } else { "finds no blob" }
    }

    /// Look for the file again. The collector leaves it where it is as long as the lock is held.
    fn look(&self, state: &mut State, actor: usize, digest: usize) -> &'static str {
        let is_there = state.file(digest) != 0;
        state.actors[actor].file = state.file(digest);
        let next = if is_there {
            let is_due = state.db.notes[digest].file != 0 && !self.has(Fault::NeverStamps);
            if is_due && !self.has(Fault::StampsAfterTheAnswer) { Pc::WriteThere } else { Pc::Unlock }
        } else {
            let is_root = state.db.is_active && digest == M && !self.has(Fault::DocumentIsNotLogged);
            if is_root { Pc::WriteNew } else { Pc::Link }
        };
        state.actors[actor].pc = next;
        if is_there { "finds the blob" } else { "finds no blob" }
    }

    fn write_there(&self, state: &mut State, actor: usize, digest: usize) -> &'static str {
        let sync = if self.has(Fault::StampIsNotDurable) { Sync::Cheap } else { Sync::Durable };
        let written = self.write(state, sync, |db| {
            db.notes[digest] = Note::default();
            db.log(bit(digest));
        });
        wrote(state, actor, digest, written, Pc::Unlock, "renews the blob's protection")
    }

    fn write_new(&self, state: &mut State, actor: usize, digest: usize) -> &'static str {
        let digests: Mask = bit(digest) | if self.has_edge { bit(B) } else { 0 };
        let written = self.write(state, Sync::Cheap, |db| db.log(digests));
        wrote(state, actor, digest, written, Pc::Link, "logs the new document with its edges")
    }

    /// Tell the client that the blob is stored.
    fn answer(&self, state: &mut State, actor: usize, digest: usize) -> &'static str {
        let (is_leased, since) = (self.is_leased(actor), state.actors[actor].since);
        let is_late = state.boot - since > self.grace / 2;
        if !is_leased && self.grace > 0 && is_late && !self.has(Fault::AnswersLate) {
            state.actors[actor].pc = Pc::Ask;
            return "was suspended, and asks again";
        }
        // The client's promise ends where a client deletes the file.
        let file = state.actors[actor].file;
        let is_promised = (is_leased || self.grace > 0) && state.deleted[digest] & (1 << file) == 0;
        if is_promised && state.file(digest) != file {
            state.broken = Some("a client was told that a lost blob is stored");
        }
        let kept = if is_promised { self.kept_with(state, digest) } else { 0 };
        if is_leased {
            state.owed.leased[actor] |= kept;
        } else {
            state.owed.told[actor] = (kept, since + self.grace);
        }
        if digest == M {
            self.owe_names(state);
        }
        let is_due = self.has(Fault::StampsAfterTheAnswer) && state.db.notes[digest].file != 0;
        let is_import = matches!(self.writers[actor], Kind::Import { .. });
        state.actors[actor].answered += 1;
        state.actors[actor].pc = match state.actors[actor].answered {
            1 if is_import && is_leased => Pc::Enter,
            1 if is_import => Pc::Ask,
            _ if is_import => Pc::SetName,
            _ if is_leased => Pc::EndLease,
            _ if is_due => Pc::StampLate,
            _ => Pc::Done,
        };
        "answers: stored"
    }

    fn set_name(&self, state: &mut State, actor: usize, slot: usize, next: Pc) -> Step {
        let sync = if self.has(Fault::NameIsNotDurable) { Sync::Cheap } else { Sync::Durable };
        self.write(state, sync, |db| {
            db.names |= bit(slot);
            if !self.has(Fault::NameIsNotLogged) {
                db.log(bit(M));
            }
        })?;
        self.owe_names(state);
        go(state, actor, next, "sets an image name")
    }

    fn drop_name(&self, state: &mut State, actor: usize) -> Step {
        self.write(state, Sync::Durable, |db| db.names &= !bit(0))?;
        state.owed.names[0] = 0;
        go(state, actor, Pc::Done, "removes the other image name")
    }

    /// Label a blob: the label itself is a root, or names another blob.
    fn label(&self, state: &mut State, actor: usize, digest: usize) -> Step {
        match state.actors[actor].pc {
            Pc::Start | Pc::Lock => {
                if state.digest_locks[digest] != 0 {
                    return None;
                }
                state.digest_locks[digest] = holder(actor);
                go(state, actor, Pc::Look, "takes the digest's lock")
            }
            Pc::Look if state.file(digest) == 0 => go(state, actor, Pc::Unlock, "finds no blob"),
            Pc::Look => go(state, actor, Pc::WriteThere, "finds the blob"),
            Pc::WriteThere => {
                let logged = if self.has(Fault::LabelIsNotLogged) { 0 } else { bit(B) };
                let written = self.write(state, Sync::Durable, |db| {
                    db.roots |= if digest == B { bit(B) } else { 0 };
                    db.label_edge |= digest == M;
                    db.log(logged);
                });
                if written.is_some() {
                    let stored = state.stored() & bit(B);
                    owe_label(state, digest, stored);
                }
                Some(wrote(state, actor, digest, written, Pc::Unlock, "sets a label"))
            }
            _ => {
                unlock(state, actor, digest);
                go(state, actor, Pc::Done, "gives back the digest's lock")
            }
        }
    }

    /// Read the document, and remember its edges in a second step: the document may go meanwhile.
    fn read_edges(&self, state: &mut State, actor: usize) -> Step {
        match state.actors[actor].pc {
            Pc::Start if state.file(M) == 0 => go(state, actor, Pc::Done, "finds no document"),
            Pc::Start => go(state, actor, Pc::WriteThere, "reads the document"),
            _ => {
                self.write(state, Sync::Cheap, |db| db.edges = Edges::Read)?;
                go(state, actor, Pc::Done, "remembers its edges")
            }
        }
    }

    fn replace(&self, state: &mut State, actor: usize) -> Step {
        match state.actors[actor].pc {
            Pc::Start => {
                if state.digest_locks[B] != 0 {
                    return None;
                }
                state.digest_locks[B] = holder(actor);
                go(state, actor, Pc::Unlink, "takes the digest's lock to delete")
            }
            Pc::Unlink => {
                state.release_promises(B);
                state.blobs[B].set(0);
                go(state, actor, Pc::SyncUnlink, "deletes the blob")
            }
            Pc::SyncUnlink => {
                state.sync_blobs();
                self.write(state, Sync::Cheap, |db| db.roots = 0)?;
                go(state, actor, Pc::UnlockUnlink, "syncs the deletion")
            }
            Pc::UnlockUnlink => {
                unlock(state, actor, B);
                go(state, actor, Pc::Ask, "gives back the digest's lock")
            }
            _ => self.put(state, actor, B),
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the result of a step that need not wait")]
pub(super) fn go(state: &mut State, actor: usize, next: Pc, what: &'static str) -> Step {
    state.actors[actor].pc = next;
    Some(what)
}

fn lock(state: &mut State, actor: usize, digest: usize) -> Step {
    if state.digest_locks[digest] != 0 {
        return None;
    }
    state.digest_locks[digest] = holder(actor);
    state.actors[actor].since = state.boot;
    go(state, actor, Pc::Look, "takes the digest's lock")
}

fn unlock(state: &mut State, actor: usize, digest: usize) {
    if state.digest_locks[digest] == holder(actor) {
        state.digest_locks[digest] = 0;
    }
}

/// Go on after a transaction, or let go of the digest and come again.
fn wrote(
    state: &mut State,
    actor: usize,
    digest: usize,
    written: Option<()>,
    next: Pc,
    what: &'static str,
) -> &'static str {
    if written.is_some() {
        state.actors[actor].pc = next;
        return what;
    }
    unlock(state, actor, digest);
    state.actors[actor].pc = Pc::Lock;
    "finds the database busy, and lets go of the digest"
}

/// A label protects the blob: as a root, or wherever the document is protected.
fn owe_label(state: &mut State, digest: usize, stored: Mask) {
    if digest == B {
        state.owed.roots |= stored;
        return;
    }
    let with_blob = |mask: Mask| if mask & bit(M) == 0 { mask } else { mask | stored };
    state.owed.names = state.owed.names.map(with_blob);
    state.owed.leased = state.owed.leased.map(with_blob);
    state.owed.told = state.owed.told.map(|(mask, until)| (with_blob(mask), until));
}
