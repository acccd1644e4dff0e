//! A volume: an open root with its locks, its metadata and its blobs. It does not know about ingests.
//!
//! | File | Does |
//! | --- | --- |
//! | `root.rs`, `blob_dir.rs` | the directories, as descriptors |
//! | `adopt.rs` | the marker |
//! | `lock.rs` | locks: of an ingest for its writer, of a digest to publish, delete or label |
//! | `temp.rs`, `staged.rs`, `file_lease.rs` | files that have no final name yet |
//! | `publish.rs` | publication: the only place where bytes become blobs |
//! | `blob.rs` | the bytes of blobs |
//! | `access_time.rs`, `last_use.rs` | the time of the last use of a blob |
//! | `remove.rs`, `removed.rs`, `quarantine.rs` | deletion; removed names; damaged copies |
//! | `meta/`, `labels.rs`, `images.rs` | facts about blobs, and image names |
//! | `leases.rs`, `own_leases.rs`, `protect.rs` | protection from garbage collection |
//! | `foreign.rs` | another program that collects garbage |
//! | `reserve.rs` | space on the disk that is kept for collections |
//! | `events.rs` | changes, for subscribers in this process |
//! | `listing.rs`, `kept.rs`, `walk.rs` | the list of all blobs |
//! | `users.rs` | the number of open files |

mod access_time;
pub(crate) mod adopt;
pub mod blob;
mod blob_dir;
pub(crate) mod boot_clock;
pub mod events;
mod file_lease;
mod foreign;
pub mod images;
mod kept;
mod labels;
mod last_use;
mod leases;
mod listing;
pub mod lock;
pub mod meta;
mod own_leases;
mod protect;
mod publish;
pub mod quarantine;
mod remove;
pub(crate) mod removed;
mod reserve;
mod root;
mod staged;
mod temp;
pub mod users;
pub mod walk;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::digest::Algorithm;
use crate::error::{At, Error, Result};
use crate::format::names::BLOB_MODE;
use crate::sys::{FileId, Layer, Policy, Process, Sys, watch};
use access_time::Unrecordable;
use events::Events;
use lock::Locks;
use meta::{Meta, Mode};
use own_leases::OwnLeases;
use users::{User, Users};

pub(crate) use access_time::used_ns;
pub(crate) use file_lease::FileLease;
pub(crate) use listing::{Lister, Names};
pub(crate) use publish::{Candidate, Content, Existing, Named, Placed, Published, find};
pub(crate) use root::Root;
pub(crate) use staged::Staged;
pub(crate) use temp::Temp;

/// An open root. All methods may be called from any thread.
pub struct Volume {
    pub(crate) process: Process,
    pub(crate) sys: Arc<dyn Sys>,
    pub(crate) root: Root,
    pub(crate) locks: Locks,
    pub(crate) own_leases: OwnLeases,
    pub(crate) meta: Meta,
    pub(crate) read_only: bool,
    /// Whether acknowledged changes survive a power loss, or only the end of the process.
    pub(crate) durable: bool,
    events: OnceLock<Arc<Events>>,
    notes: Vec<String>,
    closed: AtomicBool,
    /// Whether a collection on a full disk has used the reserved space.
    is_reserve_used: AtomicBool,
    /// The number of label changes.
    label_changes: AtomicU64,
    unrecordable: Unrecordable,
    users: Arc<Users>,
    user: User,
}

impl Volume {
    /// Open the root at this path, and create or adopt it if necessary. All calls go through `sys`.
    pub(crate) fn open(path: &Path, read_only: bool, durable: bool, sys: Arc<dyn Sys>) -> Result<Self> {
        watch().at("prepare for a fork", || path)?;
        let sys: Arc<dyn Sys> = Arc::new(Layer::new(sys, Policy { durable }));
        let root = Root::open(Arc::clone(&sys), path, read_only)?;
        let locks = if read_only {
            Locks::none(Arc::clone(&sys), root.path())
        } else {
            Locks::open(Arc::clone(&sys), root.dir(), root.path())?
        };
        if !read_only {
            temp::sweep(&root);
        }
        let mode = Mode { read_only, durable, origin: root.origin() };
        let (meta, notes) = Meta::open(Arc::clone(&sys), locks.clone(), &root.dir(), root.path(), mode)?;
        if !read_only {
            adopt::adopt(&root)?;
        }
        let users = Arc::<Users>::default();
        let user = users.enter();
        let (process, closed, own_leases) = (Process::current(), AtomicBool::new(false), OwnLeases::default());
        let (events, unrecordable) = (OnceLock::new(), Unrecordable::default());
        let is_reserve_used = AtomicBool::new(false);
        Ok(Self {
            process,
            sys,
            root,
            locks,
            own_leases,
            meta,
            read_only,
            durable,
            events,
            notes,
            closed,
            is_reserve_used,
            label_changes: AtomicU64::new(0),
            unrecordable,
            users,
            user,
        })
    }

    /// The identity of the root, for comparisons; None in a volume that was opened read-only.
    pub fn identity(&self) -> Option<FileId> {
        self.locks.identity()
    }

    /// The source of the events.
    pub fn events(&self) -> &Arc<Events> {
        self.events.get_or_init(Arc::default)
    }

    /// Share the source of another volume on the same root. It has no effect after the first use of this volume's own source.
    pub fn share_events(&self, events: Arc<Events>) {
        self.events.set(events).ok();
    }

    /// The root's absolute path.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Whether the volume is open read-only.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Readable notes about problems of this store, for example that labels were lost.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        // Damage may have been found since the open.
        notes.extend(self.meta.damage().filter(|note| !self.notes.contains(note)));
        notes
    }

    /// Refuse all later calls, and release the metadata and the store's lock. Returns false if this was already done.
    pub(crate) fn close(&self) -> bool {
        let closes = self.process.is_current() && !self.closed.swap(true, Ordering::AcqRel);
        if closes {
            self.meta.close();
            self.own_leases.clear();
            self.locks.release_store();
        }
        closes
    }

    /// The count of the holders of open files: the blobs, and the volume itself until the last of its ingests and walks is dropped.
    pub fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users)
    }

    /// Refuse a call on a closed store, and a call in a child of the process that opened it.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.process.check(|| format!("store {}", self.path().display()))?;
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::store_closed(self.path().display()));
        }
        Ok(())
    }

    /// Refuse a call that would change a closed or read-only store.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.read_only {
            return Err(Error::Io {
                errno: libc::EROFS,
                path: Some(self.path().to_owned()),
                operation: "write to a store that is open read-only",
            });
        }
        Ok(())
    }

    /// Make a file without a name for a blob of this algorithm. From the start, only the descriptor of its maker can write it.
    pub(crate) fn temp(&self, algorithm: Algorithm) -> Result<Temp> {
        let dir = self.root.make_blob_dir(algorithm)?;
        Temp::create(&self.root, dir.fd(), BLOB_MODE)
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Volume").field(&self.path()).finish()
    }
}
