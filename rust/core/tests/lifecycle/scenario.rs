//! Who does what in a run, the faults that a protocol may have, and the transactions that all actors share.

use super::world::{Actor, B, BOTH, Budget, COLLECTOR, Db, Edges, Entry, M, Mask, Note, Owed, State, bit};

/// The program of a writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Put a blob without a lease.
    Put(usize),
    /// Begin a lease, put a blob, end the lease.
    Leased(usize),
    /// Put the blob, then the document, then set an image name; all of it under a lease, or without.
    Import { is_leased: bool },
    /// Set an image name for the document.
    Name,
    /// Set another image name for the document, then remove the first.
    Move,
    /// Set the label `gc.root` of the blob.
    Root,
    /// Set a label of the document that names the blob.
    Edge,
    /// Read the edges of the document and remember them.
    Read,
    /// Delete the blob and put it again.
    Replace,
}

/// Faults that a protocol may have. Each has to be found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// "Already there" is answered for a file that was found before the note was asked for.
    LooksBeforeItAsks,
    /// The blob is looked for before it is entered into the lease.
    EntersAfterTheLook,
    /// "Already there" is answered, and a note of the blob stays.
    NeverStamps,
    StampsAfterTheAnswer,
    StampIsNotDurable,
    /// A put that was suspended answers without another look.
    AnswersLate,
    LeaseHasNoEntries,
    LeaseRowBeforeItsLock,
    NameIsNotLogged,
    NameIsNotDurable,
    DocumentIsNotLogged,
    LabelIsNotLogged,
    /// The collector begins to mark while a publisher may believe that no collection is under way.
    NoHandshake,
    /// It looks for publishers before it says that a collection is under way.
    LooksBeforeItBegins,
    /// It asks the kernel only, which does not tell it of the publishers in its own process.
    LooksAtOthersOnly,
    /// It looks in its own table only.
    LooksAtItselfOnly,
    /// It looks at the blob's digest only.
    LooksAtOneDigestOnly,
    NoTransaction,
    /// The change log is read before the transaction only.
    CondemnsBeforeTheLogIsRead,
    LogIsTruncated,
    /// The collector removes the note of a kept blob, and a power cut brings the note back.
    KeptNoteIsNotDurable,
    ComparesTheWallClockOnly,
    MissingDocumentHasNoEdges,
    /// Removes by name in `blobs/`, outside of the locks.
    RemovesByName,
    BlobBeforeItsDocument,
    NoSyncBeforeTheBlob,
    RemovesBeforeTheSync,
    /// A blob that an earlier collection condemned gets its name back.
    RenamesBack,
    TwoCollectors,
    KeepsTheLock,
    LeavesWhatIsCondemned,
}

/// A run: the actors, the events, and what is there at the beginning.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub writers: Vec<Kind>,
    pub collectors: usize,
    /// The writer that is a thread of the collectors' process; all others are in other processes.
    pub own_writer: usize,
    /// How many collections each collector makes.
    pub cycles: u8,
    pub grace: i8,
    pub budget: Budget,
    /// The time that a jump adds to the wall clock.
    pub jump: i8,
    pub stored: Mask,
    /// The digests that an earlier collection noted, longer ago than the grace time.
    pub noted: Mask,
    pub names: Mask,
    /// Whether the document names the blob.
    pub has_edge: bool,
    pub fault: Option<Fault>,
}

/// Whether a transaction is synced before it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    Durable,
    Cheap,
}

impl Scenario {
    /// Two garbage blobs that were noted long ago, one collection, no events.
    pub fn new(writers: &[Kind]) -> Self {
        Self {
            writers: writers.to_vec(),
            collectors: 1,
            own_writer: 0,
            cycles: 1,
            grace: 2,
            budget: Budget::default(),
            jump: 0,
            stored: BOTH,
            noted: BOTH,
            names: 0,
            has_edge: !writers.contains(&Kind::Edge),
            fault: None,
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub fn is_collector(&self, actor: usize) -> bool {
        actor == COLLECTOR || (actor + 1 == COLLECTOR && self.collectors == 2)
    }

    pub fn is_leased(&self, actor: usize) -> bool {
        matches!(self.writers[actor], Kind::Leased(_) | Kind::Import { is_leased: true })
    }

    pub fn begin(&self) -> State {
        const BEGIN: i8 = 5;
        let mut actors = [Actor::new(self.cycles); 3];
        for (place, actor) in actors.iter_mut().enumerate() {
            if !self.is_collector(place) && place >= self.writers.len() {
                *actor = Actor::ended();
            }
        }
        let has = |mask: Mask, digest: usize| u8::from(mask & bit(digest) != 0);
        let file = |digest| has(self.stored, digest);
        let note = |digest| Note { file: has(self.noted & self.stored, digest), ..Note::default() };
        let mut state = State {
            budget: self.budget,
            boot: BEGIN,
            shift: 0,
            boot_id: 0,
            blobs: [Entry::new(file(M)), Entry::new(file(B))],
            condemned: [Entry::new(0); 2],
            made: [file(M), file(B)],
            freed: [0; 2],
            db: Db { names: self.names, notes: [note(M), note(B)], edges: Edges::Unknown, ..Db::default() },
            undone: Vec::new(),
            digest_locks: [0; 2],
            db_lock: 0,
            collector_lock: 0,
            held_leases: 0,
            actors,
            owed: Owed::default(),
            deleted: [0; 2],
            is_whole: self.stored == BOTH && self.has_edge,
            broken: None,
        };
        self.owe_names(&mut state);
        state
    }

    /// The blobs that a protected digest keeps: its own, and for a document the blob that it names.
    pub fn kept_with(&self, state: &State, digest: usize) -> Mask {
        let names_blob = digest == M && (self.has_edge || state.db.label_edge);
        let needed = bit(digest) | if names_blob { bit(B) } else { 0 };
        if state.stored() & bit(digest) == 0 { 0 } else { needed & state.stored() }
    }

    /// The names that are set protect the document from now on, and the blob that it names.
    pub fn owe_names(&self, state: &mut State) {
        let kept = self.kept_with(state, M);
        for slot in 0..2 {
            if state.db.names & bit(slot) != 0 {
                state.owed.names[slot] |= kept;
            }
        }
    }

    /// Change the database in one transaction; None while another process does.
    pub fn write(&self, state: &mut State, sync: Sync, change: impl FnOnce(&mut Db)) -> Option<()> {
        if state.db_lock != 0 {
            return None;
        }
        self.commit(state, sync, change);
        Some(())
    }

    /// Change the database; the caller has it.
    pub fn commit(&self, state: &mut State, sync: Sync, change: impl FnOnce(&mut Db)) {
        let before = state.db;
        change(&mut state.db);
        if self.budget.cuts > 0 && sync == Sync::Cheap && before != state.db {
            state.undone.push(before);
        }
        if sync == Sync::Durable {
            state.undone.clear();
        }
    }
}
