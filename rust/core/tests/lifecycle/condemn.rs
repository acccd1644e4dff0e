//! How the collector takes a blob out of `blobs/`, and removes its file.

use super::collector::is_noted;
use super::scenario::{Fault, Scenario, Sync};
use super::world::{Note, Pc, State, bit, holder, places};
use super::writers::go;

type Step = Option<&'static str>;

impl Scenario {
    /// Condemn one blob, under its digest's lock and in a transaction.
    pub(super) fn condemn(&self, state: &mut State, actor: usize) -> Step {
        let digest = usize::from(state.actors[actor].cycle.at);
        let own = holder(actor);
        match state.actors[actor].pc {
            Pc::TryLock if state.digest_locks[digest] != 0 => {
                self.spare(state, actor, bit(digest));
                go(state, actor, Pc::Next, "finds the digest locked, and spares the blob")
            }
            Pc::TryLock => {
                state.digest_locks[digest] = own;
                go(state, actor, Pc::Transaction, "takes the digest's lock to condemn")
            }
            Pc::Transaction if self.has(Fault::NoTransaction) => go(state, actor, Pc::Check, "begins no transaction"),
            Pc::Transaction if state.db_lock != 0 => {
                let_go(state, actor, digest);
                go(state, actor, Pc::Next, "finds the database busy, and lets go of the digest")
            }
            Pc::Transaction => {
                state.db_lock = own;
                go(state, actor, Pc::Check, "begins the transaction")
            }
            Pc::Check => Some(self.check(state, actor, digest)),
            Pc::Rename if self.has(Fault::RemovesByName) => {
                state.actors[actor].cycle.doomed |= bit(digest);
                state.actors[actor].cycle.old &= !bit(digest);
                go(state, actor, Pc::Commit, "leaves the blob in its place")
            }
            Pc::Rename => {
                let file = state.file(digest);
                state.condemned[digest].set(file);
                state.blobs[digest].set(0);
                state.actors[actor].cycle.old &= !bit(digest);
                go(state, actor, Pc::Commit, "renames the blob into condemned/")
            }
            Pc::Commit => {
                self.commit(state, Sync::Cheap, |db| db.notes[digest] = Note::default());
                if state.db_lock == own {
                    state.db_lock = 0;
                }
                go(state, actor, Pc::Release, "ends the transaction")
            }
            Pc::Release => {
                if !self.has(Fault::KeepsTheLock) {
                    let_go(state, actor, digest);
                }
                go(state, actor, Pc::SyncRename, "gives back the digest's lock")
            }
            Pc::SyncRename => {
                if !self.has(Fault::NoSyncBeforeTheBlob) && !self.has(Fault::RemovesBeforeTheSync) {
                    state.sync_blobs();
                    state.sync_condemned();
                }
                go(state, actor, Pc::Next, "syncs the directories")
            }
            other => unreachable!("a collector has no step {other:?}"),
        }
    }

    /// Read the log once more: what it has that is new is marked first. Then look at the blob again.
    fn check(&self, state: &mut State, actor: usize, digest: usize) -> &'static str {
        if state.db.cycle != state.actors[actor].cycle.number && !self.has(Fault::TwoCollectors) {
            let_go(state, actor, digest);
            state.actors[actor].pc = Pc::Finish;
            return "finds a later collection, and stops";
        }
        if !self.has(Fault::CondemnsBeforeTheLogIsRead) && self.read_log(state, actor) {
            let_go(state, actor, digest);
            state.actors[actor].pc = Pc::Next;
            return "finds more in the log, lets go and marks it";
        }
        let is_same = state.file(digest) != 0 && state.file(digest) == state.actors[actor].cycle.files[digest];
        let may_go = is_same && is_noted(state, digest) && self.is_old(state, digest);
        if may_go {
            state.actors[actor].pc = Pc::Rename;
            return "finds nothing new";
        }
        let_go(state, actor, digest);
        self.spare(state, actor, bit(digest));
        state.actors[actor].pc = Pc::Next;
        "finds the blob changed, and spares it"
    }

    /// Remove one file of those that were condemned.
    pub(super) fn remove(&self, state: &mut State, actor: usize) -> &'static str {
        let doomed = state.actors[actor].cycle.doomed;
        if let Some(digest) = places(doomed).next() {
            let file = state.file(digest);
            state.actors[actor].cycle.doomed &= !bit(digest);
            state.blobs[digest].set(0);
            state.free(digest, file);
            return "removes what now has the name of a blob";
        }
        if !self.has(Fault::RemovesBeforeTheSync) {
            // The batches were synced already; a faulty collector leaves that out.
            state.sync_blobs();
            state.sync_condemned();
        }
        if let Some(digest) = (0..2).rev().find(|digest| state.condemned[*digest].now != 0) {
            empty(state, digest);
            return "removes a condemned file";
        }
        state.actors[actor].pc = Pc::Finish;
        "has removed all"
    }
}

/// Remove a file in `condemned/`.
pub(super) fn empty(state: &mut State, digest: usize) {
    let file = state.condemned[digest].now;
    if file != 0 {
        state.condemned[digest].set(0);
        state.free(digest, file);
    }
}

fn let_go(state: &mut State, actor: usize, digest: usize) {
    let own = holder(actor);
    if state.digest_locks[digest] == own {
        state.digest_locks[digest] = 0;
    }
    if state.db_lock == own {
        state.db_lock = 0;
    }
}
