//! The values that the core returns: information on blobs, ingests, image names, leases and events.
//!
//! Times are nanoseconds since the epoch (UTC), sizes and offsets are bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// A blob's labels.
pub type Labels = BTreeMap<String, String>;

/// The most bytes that a label's key and value may have together (containerd's limit).
pub const LABEL_LIMIT: usize = 4096;

/// Refuse labels that are too long, or without a key.
pub fn check_labels(labels: &Labels) -> Result<()> {
    for (key, value) in labels {
        let size = key.len() + value.len();
        if key.is_empty() || size > LABEL_LIMIT {
            return Err(Error::InvalidLabel { key: key.clone(), size, limit: LABEL_LIMIT });
        }
    }
    Ok(())
}

/// The store's information on a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// When it was committed; never changes.
    pub created_ns: i64,
    /// When its labels were last set; reading does not change it.
    pub updated_ns: i64,
    /// Its labels, the only part that can change. Blobs with the same labels may share them.
    pub labels: Arc<Labels>,
}

/// The target of an image name: a reference to a blob, stored or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The blob's name.
    pub digest: Digest,
    /// Its length, if it is known.
    pub size: Option<u64>,
    /// The type of its bytes.
    pub media_type: Option<String>,
    /// Further information on it.
    pub annotations: Labels,
}

/// An image name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The name.
    pub name: String,
    /// The blob that the name refers to.
    pub target: Target,
    /// When the name was created; never changes.
    pub created_ns: i64,
    /// When its target or its labels were last set.
    pub updated_ns: i64,
    /// The name's labels, which are not those of the blob.
    pub labels: Labels,
}

/// A lease: it protects blobs and ingests from garbage collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its ID.
    pub id: String,
    /// When it was created.
    pub created_ns: i64,
    /// When it ends by itself.
    pub expires_ns: Option<i64>,
    /// The number of the process that it ends with.
    pub process: Option<u32>,
    /// Its labels.
    pub labels: Labels,
}

/// The resources that a lease protects, by their names, whether they are stored or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Blobs.
    pub digests: Vec<Digest>,
    /// Ingests.
    pub refs: Vec<String>,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A blob was stored.
    Created,
    /// The labels of a blob were set.
    Labelled,
    /// A blob was removed.
    Deleted,
    /// An image name was set, or was changed without a change of its digest.
    NameSet,
    /// An image name was given another digest.
    NameMoved,
    /// An image name was removed.
    NameRemoved,
    /// A lease was created.
    LeaseBegun,
    /// A lease was ended.
    LeaseEnded,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Labelled,
        Self::Deleted,
        Self::NameSet,
        Self::NameMoved,
        Self::NameRemoved,
        Self::LeaseBegun,
        Self::LeaseEnded,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Labelled => "labelled",
            Self::Deleted => "deleted",
            Self::NameSet => "name_set",
            Self::NameMoved => "name_moved",
            Self::NameRemoved => "name_removed",
            Self::LeaseBegun => "lease_begun",
            Self::LeaseEnded => "lease_ended",
        }
    }
}

/// The reason why a blob was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// By a call.
    Deleted,
    /// As garbage.
    Collected,
    /// Because it was damaged.
    Quarantined,
}

impl Removal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deleted, Self::Collected, Self::Quarantined];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Collected => "collected",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A change, for subscribers. Fields that its kind does not have are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The kind.
    pub kind: EventKind,
    /// When it was made.
    pub at_ns: i64,
    /// The blob, or the target of the image name.
    pub digest: Option<Digest>,
    /// The length of that blob.
    pub size: Option<u64>,
    /// The image name.
    pub name: Option<String>,
    /// The ID of the lease.
    pub lease: Option<String>,
    /// The previous digest of the image name's target, if there was one.
    pub previous: Option<Digest>,
    /// Why the blob was removed.
    pub reason: Option<Removal>,
    /// The labels of the blob, the image name or the lease, as they are now.
    pub labels: Arc<Labels>,
}

impl Event {
    /// A change of this kind at this time, with all other fields empty.
    pub fn new(kind: EventKind, at_ns: i64) -> Self {
        let labels = Arc::default();
        Self { kind, at_ns, digest: None, size: None, name: None, lease: None, previous: None, reason: None, labels }
    }

    /// A blob was removed.
    pub fn deleted(digest: &Digest, reason: Removal, at_ns: i64) -> Self {
        Self { digest: Some(*digest), reason: Some(reason), ..Self::new(EventKind::Deleted, at_ns) }
    }

    /// An image name was changed, or removed.
    pub fn of_image(kind: EventKind, image: &Image, at_ns: i64) -> Self {
        let Image { name, target, labels, .. } = image;
        let (digest, name) = (Some(target.digest), Some(name.clone()));
        Self { digest, size: target.size, name, labels: Arc::new(labels.clone()), ..Self::new(kind, at_ns) }
    }
}

/// The store's information on an ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The caller's name for it.
    pub ref_: String,
    /// Bytes held; after a crash, the bytes that survived it.
    pub offset: u64,
    /// The size the caller announced.
    pub total: Option<u64>,
    /// The digest the caller announced.
    pub expected: Option<Digest>,
    /// When it was begun.
    pub started_ns: i64,
    /// When bytes were last added or cut.
    pub updated_ns: i64,
}
