//! The beginning of an ingest, and the resumption of an ingest at its last checkpoint.

use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, Weak};

use super::budget::Budget;
use super::control::{Control, Found, Place, Resumed, Whole};
use super::hashing::Hashing;
use super::inner::{Backing, Inner, Named, Phase};
use super::own::Own;
use super::tail::{self, Notes};
use super::write_buffer::WriteBuffer;
use super::{Ingest, Ingests};
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::format::names::{DATA, ingest_name};
use crate::format::state::{HASH_STATE_LIMIT, Header, Holder, REF_LIMIT, Slot};
use crate::hash::Hasher;
use crate::sys::{Fd, Sys};
use crate::volume::lock::RefLock;
use crate::volume::{Named as NamedBlob, find};

const _: () = assert!(crate::hash::STATE_LIMIT <= HASH_STATE_LIMIT);

/// The options of `Ingests::open`.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    total: Option<u64>,
    expected: Option<&'a Digest>,
    algorithm: Option<Algorithm>,
}

impl Ingests {
    /// Begin or resume the ingest of a ref, by the rules of `Ingester.writer`.
    pub fn open(
        self: &Arc<Self>,
        ref_: &str,
        total: Option<u64>,
        expected: Option<&Digest>,
        algorithm: Option<Algorithm>,
    ) -> Result<Arc<Ingest>> {
        self.open_under(None, ref_, total, expected, algorithm)
    }

    /// Like `open`, under a lease. The ref and the expected digest are added to the lease before the blob is looked for.
    pub fn open_under(
        self: &Arc<Self>,
        lease: Option<&str>,
        ref_: &str,
        total: Option<u64>,
        expected: Option<&Digest>,
        algorithm: Option<Algorithm>,
    ) -> Result<Arc<Ingest>> {
        check_ref(ref_)?;
        self.volume.check_writable()?;
        let Some(reserved) = self.live.reserve(ref_) else {
            return Err(self.held_here(ref_));
        };
        let lock = self.take_ref(ref_)?;
        self.volume.enter_ingest(lease, ref_, expected)?;
        if let Some(digest) = expected {
            self.volume.in_time(lease, || self.refuse_stored(lease, ref_, digest, total))?;
        }
        let since_ns = self.volume.sys.now_ns();
        let inner = self.open_inner(ref_, Wanted { total, expected, algorithm }, since_ns, lock)?;
        let ingest = self.opened(lease, ref_, since_ns, inner);
        reserved.fill(&ingest);
        Ok(ingest)
    }

    /// Begin an ingest without a ref: no other process sees it, and nothing remains of it unless it is committed.
    pub fn anonymous(self: &Arc<Self>, algorithm: Algorithm) -> Result<Arc<Ingest>> {
        self.anonymous_under(None, algorithm)
    }

    /// Like `anonymous`, under a lease.
    pub fn anonymous_under(self: &Arc<Self>, lease: Option<&str>, algorithm: Algorithm) -> Result<Arc<Ingest>> {
        self.volume.check_writable()?;
        let now = self.volume.sys.now_ns();
        let backing = Backing::Unnamed(self.volume.temp(algorithm)?);
        let slot = Slot::start(None, None, algorithm, now);
        let inner = Inner::new(backing, &slot, now, Hasher::new(algorithm), &self.flushers.budget);
        Ok(self.opened(lease, "", now, inner))
    }

    fn opened(self: &Arc<Self>, lease: Option<&str>, name: &str, since_ns: i64, inner: Inner) -> Arc<Ingest> {
        Arc::new_cyclic(|this| Ingest {
            ingests: Arc::clone(self),
            name: name.to_owned(),
            since_ns,
            lease: lease.map(str::to_owned),
            this: Weak::clone(this),
            write_buffer: Arc::clone(&inner.write_buffer),
            wait_lock: Mutex::new(()),
            is_committing: AtomicBool::new(false),
            is_copying: AtomicBool::new(false),
            is_closing: Arc::default(),
            inner: Mutex::new(inner),
        })
    }

    /// Refuse an ingest of a stored blob, as containerd does. An ingest that was begun under the ref is no longer needed.
    fn refuse_stored(&self, lease: Option<&str>, ref_: &str, digest: &Digest, total: Option<u64>) -> Result<()> {
        if !self.is_stored(digest, total)? {
            return Ok(());
        }
        Place::of(&self.volume)?.remove(&ingest_name(ref_))?;
        self.volume.leave_ingest(lease, ref_);
        Err(Error::AlreadyExists { digest: digest.to_string() })
    }

    /// Whether a blob with the expected size is stored. If so, it survives a power loss.
    fn is_stored(&self, digest: &Digest, total: Option<u64>) -> Result<bool> {
        if self.volume.root.blob_dir(digest.algorithm())?.is_none() {
            return Ok(false);
        }
        let (sys, path) = (self.volume.sys.as_ref(), || self.volume.root.blob_path(digest));
        let dir = self.volume.root.make_blob_dir(digest.algorithm())?;
        let named = find(sys, dir.fd(), &digest.encoded()).at("open", path)?;
        let NamedBlob::File(file, stat) = named else {
            return Ok(false);
        };
        if total.is_some_and(|total| total != stat.size) || !self.volume.confirm(&dir, digest, file.as_fd())? {
            return Ok(false);
        }
        self.volume.record_use(file.as_fd(), &stat);
        if !dir.covers(&stat) {
            // DURABILITY: the caller will rely on the blob, and the process that stored it may have died before it was durable.
            sys.sync_file(file.as_fd()).at("fsync", path)?;
            dir.sync(sys)?;
        }
        Ok(true)
    }

    fn open_inner(&self, ref_: &str, wanted: Wanted<'_>, since_ns: i64, lock: RefLock) -> Result<Inner> {
        let place = Place::of(&self.volume)?;
        let name = ingest_name(ref_);
        let holder = Holder { pid: std::process::id(), since_ns };
        match place.find(&name)? {
            Found::Whole(whole) => return resume(self, &place, *whole, holder, wanted, lock),
            Found::Garbage(_) => place.remove(&name)?,
            Found::Absent => {}
        }
        let algorithm = wanted.algorithm(None);
        let slot = Slot::start(wanted.total, wanted.expected.copied(), algorithm, since_ns);
        let header = Header { ref_: ref_.to_owned(), started_ns: since_ns };
        let (data, control) = place.create(&name, &header, holder, slot.clone())?;
        let backing = Backing::named(&self.volume.sys, ref_, Resumed { data, control, is_shared: false }, lock, &slot)?;
        Ok(Inner::new(backing, &slot, since_ns, Hasher::new(algorithm), &self.flushers.budget))
    }
}

impl Wanted<'_> {
    /// The algorithm of the digest: the requested one, or that of the expected digest, or the ingest's own, or SHA-256.
    fn algorithm(&self, stored: Option<Algorithm>) -> Algorithm {
        let expected = self.expected.map(Digest::algorithm);
        self.algorithm.or(expected).or(stored).unwrap_or(Algorithm::Sha256)
    }
}

impl Slot {
    /// The slot of an ingest without bytes.
    fn start(total: Option<u64>, expected: Option<Digest>, algorithm: Algorithm, now_ns: i64) -> Self {
        let saved = Hasher::new(algorithm).save();
        let (sequence, offset, updated_ns) = (1, 0, now_ns);
        let (hash_offset, hash_state) = (saved.offset, saved.bytes);
        Self { sequence, offset, updated_ns, total, expected, algorithm, hash_offset, hash_state }
    }

    /// Save a hasher whose offset is at or before the slot's offset.
    pub(super) fn set_hash(&mut self, hasher: &Hasher) {
        let saved = hasher.save();
        self.algorithm = hasher.algorithm();
        (self.hash_offset, self.hash_state) = (saved.offset, saved.bytes);
    }

    /// The hasher saved in the slot. If it is unusable, a new one is returned, and the bytes are read again.
    pub(super) fn hasher(&self, algorithm: Algorithm) -> Hasher {
        if self.algorithm == algorithm
            && let Ok(hasher) = Hasher::restore(algorithm, &self.hash_state)
            && hasher.offset() == self.hash_offset
        {
            return hasher;
        }
        Hasher::new(algorithm)
    }
}

impl Backing {
    fn named(sys: &Arc<dyn Sys>, ref_: &str, resumed: Resumed, lock: RefLock, slot: &Slot) -> Result<Self> {
        let Resumed { data, control, is_shared } = resumed;
        let path = control.path().to_owned();
        let own = Own::new(sys.as_ref(), ref_, control.dir(), DATA, data.as_fd()).at("stat", || path.join(DATA))?;
        let notes = Notes::new(Arc::clone(sys), control.dir(), control.layout(), own.data(), slot);
        let (data, control) = (Arc::new(data), Some(control));
        Ok(Self::Named(Box::new(Named { data, own, notes, is_shared, path, control, away: None, _lock: lock })))
    }
}

impl Inner {
    fn new(backing: Backing, slot: &Slot, started_ns: i64, hasher: Hasher, budget: &Arc<Budget>) -> Self {
        Self {
            phase: Phase::Open,
            backing: Some(backing),
            hashing: Hashing::new(hasher),
            recheck: None,
            write_buffer: WriteBuffer::new(budget, slot.offset),
            written: slot.offset,
            written_back: slot.offset,
            durable: slot.offset,
            // This is also true after a resume: a killed writer may not have synced the slot or the directory.
            dirty: true,
            total: slot.total,
            expected: slot.expected,
            started_ns,
            updated_ns: slot.updated_ns,
        }
    }
}

/// Resume at the newest slot whose bytes all exist, and after further verified bytes if there are any; otherwise start over.
fn resume(
    ingests: &Ingests,
    place: &Place<'_>,
    whole: Whole,
    holder: Holder,
    wanted: Wanted<'_>,
    lock: RefLock,
) -> Result<Inner> {
    let (header, size) = (whole.state.header.clone(), whole.data.size);
    let index = whole.state.usable(size);
    let mut resumed = place.resume(&ingest_name(&header.ref_), whole, holder).map_err(|error| match error {
        // The data is being published, by a writer whose lock is no longer valid.
        Error::Io { errno: libc::EAGAIN, .. } => unavailable(&header.ref_),
        other => other,
    })?;
    let (data, control) = (&resumed.data, &mut resumed.control);
    let mut slot = match index {
        Some(index) => {
            control.use_slot(index);
            control.slots()[index].clone().unwrap_or_else(|| unreachable!("a usable slot is there"))
        }
        None => Slot::start(None, None, Algorithm::Sha256, header.started_ns),
    };
    let stored = index.map(|_| slot.algorithm);
    let before = slot.clone();
    slot.total = wanted.total.or(slot.total);
    slot.expected = wanted.expected.copied().or(slot.expected);
    let algorithm = wanted.algorithm(stored);
    let mut hasher = slot.hasher(algorithm);
    slot.set_hash(&hasher);
    let mut reached = slot.clone();
    if index.is_some()
        && !resumed.is_shared
        && let Some(found) = tail::recover(place, control, data, &before, size)
    {
        reached.offset = found.hasher.offset();
        reached.updated_ns = found.updated_ns.max(slot.updated_ns);
        if before.algorithm == algorithm {
            hasher = found.hasher;
        }
    }
    trim(place, control, data, &slot, reached.offset, size)?;
    if index.is_none() || slot != before {
        // The bytes of this checkpoint are durable already; only its metadata is new.
        control.checkpoint(place, slot.clone())?;
    }
    let backing = Backing::named(&ingests.volume.sys, &header.ref_, resumed, lock, &reached)?;
    let inner = Inner::new(backing, &reached, header.started_ns, hasher, &ingests.flushers.budget);
    Ok(Inner { durable: slot.offset, written_back: slot.offset, ..inner })
}

fn unavailable(ref_: &str) -> Error {
    let holder = "another process".to_owned();
    Error::Unavailable { name: ref_.to_owned(), holder, since_ns: None, local: false }
}

/// Remove the bytes after the valid ones: they were never acknowledged, and their content is unknown.
fn trim(place: &Place<'_>, control: &mut Control, data: &Fd, slot: &Slot, reached: u64, size: u64) -> Result<()> {
    if control.claims_more_than(slot.offset) {
        // A slot whose bytes were lost would become valid again once other bytes have taken their place.
        control.pin(place, slot)?;
    }
    if size > reached {
        place.sys.truncate(data.as_fd(), reached).at("truncate", || control.path().join(DATA))?;
    }
    Ok(())
}

pub(super) fn check_ref(ref_: &str) -> Result<()> {
    let message = match ref_.len() {
        0 => "the ref is empty".to_owned(),
        1..=REF_LIMIT => return Ok(()),
        length => format!("the ref is {length} bytes, at most {REF_LIMIT} are allowed"),
    };
    Err(Error::InvalidArgument { message })
}
