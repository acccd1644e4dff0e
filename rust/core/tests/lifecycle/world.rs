//! The state of the model: files, the database, locks, clocks, the actors, and the promises that clients rely on.

/// A set of digests, of leases or of image names: a bit for each.
pub type Mask = u8;
/// A file, by the order in which the files of its digest were made; 0 is no file.
pub type File = u8;

/// The digest of a document.
pub const M: usize = 0;
/// The digest of a blob that the document names.
pub const B: usize = 1;
pub const BOTH: Mask = 3;
/// The place of the collector among the actors.
pub const COLLECTOR: usize = 2;

pub const fn bit(place: usize) -> Mask {
    1 << place
}

pub fn places(mask: Mask) -> impl Iterator<Item = usize> {
    (0..2).filter(move |place| mask & bit(*place) != 0)
}

/// Who holds a lock.
pub fn holder(actor: usize) -> u8 {
    u8::try_from(actor).unwrap() + 1
}

/// An entry of a directory.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The file that it names.
    pub now: File,
    /// The files that it may name after a power cut, a bit for each.
    pub after_cut: u8,
}

impl Entry {
    pub fn new(file: File) -> Self {
        Self { now: file, after_cut: 1 << file }
    }

    pub fn set(&mut self, file: File) {
        self.now = file;
        self.after_cut |= 1 << file;
    }

    pub fn is_durable(self) -> bool {
        self.after_cut == 1 << self.now
    }
}

/// When a collection first found a file that nothing kept. `file` 0: there is no note.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Note {
    pub file: File,
    pub wall: i8,
    pub boot: i8,
    pub boot_id: u8,
}

/// The row of a lease.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Lease {
    pub exists: bool,
    /// The blobs that it protects.
    pub entries: Mask,
}

/// The document's edges in the database.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub enum Edges {
    #[default]
    Unknown,
    Read,
    /// Only a faulty protocol remembers this.
    None,
}

/// The database.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Db {
    /// The image names of the document that are set.
    pub names: Mask,
    /// The blobs with the label `gc.root`.
    pub roots: Mask,
    /// Whether a label of the document names the blob.
    pub label_edge: bool,
    pub edges: Edges,
    pub notes: [Note; 2],
    pub leases: [Lease; 2],
    /// The number of the latest collection, and whether it is under way.
    pub cycle: u8,
    pub is_active: bool,
    /// The change log of that collection.
    pub log: Mask,
}

impl Db {
    /// Append to the change log while a collection is under way.
    pub fn log(&mut self, digests: Mask) {
        if self.is_active {
            self.log |= digests;
        }
    }
}

/// Where an actor is in its program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pc {
    Start,
    Leasing,
    Enter,
    Ask,
    Unnote,
    Find,
    Unlink,
    SyncUnlink,
    UnlockUnlink,
    Lock,
    Look,
    WriteThere,
    WriteNew,
    Link,
    Unlock,
    Sync,
    Answer,
    StampLate,
    SetName,
    EndLease,
    DropName,
    CleanSync,
    Clean,
    Activate,
    Handshake,
    HandshakeOthers,
    HandshakeRest,
    ReadNewName,
    ReadOldName,
    ReadLabels,
    ReadLeases,
    ListM,
    ListB,
    Settle,
    Next,
    TryLock,
    Transaction,
    Check,
    Rename,
    Commit,
    Release,
    SyncRename,
    Remove,
    Finish,
    Done,
}

/// The knowledge of a collection.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Cycle {
    pub number: u8,
    /// How many collections are still to be made, with this one.
    pub left: u8,
    /// Blobs that roots keep.
    pub kept: Mask,
    /// Blobs that are kept for the rest of this collection only.
    pub spared: Mask,
    /// Blobs that may be condemned.
    pub old: Mask,
    pub to_note: Mask,
    /// How much of the change log was read.
    pub seen: Mask,
    /// The leases whose holder is gone.
    pub dead_leases: Mask,
    /// The files that were listed.
    pub files: [File; 2],
    /// The blob that is being condemned.
    pub at: u8,
    /// Blobs that a faulty collector will remove by name.
    pub doomed: Mask,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    pub pc: Pc,
    /// When it asked for the note, by the boot clock.
    pub since: i8,
    /// The file that it found or stored.
    pub file: File,
    /// How many blobs of an import were answered.
    pub answered: u8,
    pub cycle: Cycle,
}

impl Actor {
    pub fn new(cycles: u8) -> Self {
        Self { pc: Pc::Start, since: 0, file: 0, answered: 0, cycle: Cycle { left: cycles, ..Cycle::default() } }
    }

    /// An actor that has nothing more to do, and remembers nothing.
    pub fn ended() -> Self {
        Self { pc: Pc::Done, ..Self::new(0) }
    }

    pub fn has_ended(&self) -> bool {
        self.pc == Pc::Done
    }
}

/// The blobs that clients were told are kept, by the source of the promise.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Owed {
    pub names: [Mask; 2],
    pub roots: Mask,
    /// By the answer to each writer without a lease, and until when by the boot clock.
    pub told: [(Mask, i8); 2],
    pub leased: [Mask; 2],
}

/// Events that may still happen.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Budget {
    pub ticks: u8,
    pub jumps: u8,
    pub crashes: u8,
    pub cuts: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub budget: Budget,
    /// The boot clock, how far the wall clock is ahead of it, and how often the machine was started.
    pub boot: i8,
    pub shift: i8,
    pub boot_id: u8,
    pub blobs: [Entry; 2],
    pub condemned: [Entry; 2],
    pub made: [File; 2],
    /// The files whose blocks were given back.
    pub freed: [u8; 2],
    pub db: Db,
    /// Other states in which a power cut may leave the database.
    pub undone: Vec<Db>,
    pub digest_locks: [u8; 2],
    pub db_lock: u8,
    pub collector_lock: u8,
    pub held_leases: Mask,
    pub actors: [Actor; 3],
    pub owed: Owed,
    /// The files that a client deleted itself, a bit for each.
    pub deleted: [u8; 2],
    /// Whether the first document never lost its blob to a client's own deletion.
    pub is_whole: bool,
    /// The first promise that was broken by an answer.
    pub broken: Option<&'static str>,
}

impl State {
    pub fn have_all_ended(&self) -> bool {
        self.actors.iter().all(Actor::has_ended)
    }

    pub fn wall(&self) -> i8 {
        self.boot + self.shift
    }

    pub fn file(&self, digest: usize) -> File {
        self.blobs[digest].now
    }

    /// Make a file and give it the name of its blob.
    pub fn make(&mut self, digest: usize) {
        assert_eq!(0, self.file(digest), "a link never replaces");
        self.made[digest] += 1;
        let file = self.made[digest];
        self.blobs[digest].set(file);
    }

    /// Give back the blocks of a file, unless an entry names it.
    pub fn free(&mut self, digest: usize, file: File) {
        if self.blobs[digest].now != file && self.condemned[digest].now != file {
            self.freed[digest] |= 1 << file;
        }
    }

    pub fn sync_blobs(&mut self) {
        self.blobs = self.blobs.map(|entry| Entry::new(entry.now));
    }

    pub fn sync_condemned(&mut self) {
        self.condemned = self.condemned.map(|entry| Entry::new(entry.now));
    }

    /// The digests whose blobs are there, and stay after a power cut.
    pub fn stored(&self) -> Mask {
        let stored = |digest: &usize| self.file(*digest) != 0 && self.blobs[*digest].is_durable();
        places(BOTH).filter(stored).map(bit).sum()
    }

    /// The digests whose blobs are there.
    pub fn present(&self) -> Mask {
        places(BOTH).filter(|digest| self.file(*digest) != 0).map(bit).sum()
    }

    /// A client removes a blob itself: nothing is owed for it.
    pub fn release_promises(&mut self, digest: usize) {
        let rest = !bit(digest);
        self.owed.names = self.owed.names.map(|mask| mask & rest);
        self.owed.leased = self.owed.leased.map(|mask| mask & rest);
        self.owed.told = self.owed.told.map(|(mask, until)| (mask & rest, until));
        self.owed.roots &= rest;
        self.deleted[digest] |= 1 << self.file(digest);
        self.is_whole = false;
    }

    /// Everything that is owed now.
    pub fn promised(&self) -> Mask {
        let told = self.owed.told.iter().filter(|(_, until)| self.boot < *until).map(|(mask, _)| *mask);
        let rest = self.owed.names.into_iter().chain(self.owed.leased).chain([self.owed.roots]);
        told.chain(rest).fold(0, |all, mask| all | mask)
    }

    /// The process of an actor ends: the kernel frees its locks.
    pub fn end_process(&mut self, actor: usize) {
        let own = holder(actor);
        for lock in self.digest_locks.iter_mut().chain([&mut self.db_lock, &mut self.collector_lock]) {
            if *lock == own {
                *lock = 0;
            }
        }
        if actor < COLLECTOR {
            self.held_leases &= !bit(actor);
            self.owed.leased[actor] = 0;
        }
    }

    /// Return the rule that this state breaks.
    pub fn wrong(&self) -> Option<&'static str> {
        let is_freed = |digest: usize| self.freed[digest] & (1 << self.file(digest)) != 0;
        if self.broken.is_some() {
            self.broken
        } else if self.promised() & !self.present() != 0 {
            Some("a blob is gone that a client was promised")
        } else if places(self.present()).any(is_freed) {
            Some("a blob's name leads to blocks that were given back")
        } else if self.is_whole && self.file(M) == 1 && self.file(B) == 0 {
            Some("a document was left without the blob that it names")
        } else {
            None
        }
    }
}
