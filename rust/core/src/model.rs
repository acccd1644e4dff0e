//! The values that the core hands out: what is known of a blob and of an ingest.
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
    /// When it was committed; never moves.
    pub created_ns: i64,
    /// When its labels were last set; reading never moves it.
    pub updated_ns: i64,
    /// Its labels, the only part that can change. Blobs with the same labels may share them.
    pub labels: Arc<Labels>,
}

/// The target of an image name: a reference to a blob, stored or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The blob's name.
    pub digest: Digest,
    /// Its length, where it is known.
    pub size: Option<u64>,
    /// The type of its bytes.
    pub media_type: Option<String>,
    /// Further statements about it.
    pub annotations: Labels,
}

/// An image name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The name.
    pub name: String,
    /// The blob that the name refers to.
    pub target: Target,
    /// When the name was made; never moves.
    pub created_ns: i64,
    /// When what it holds or its labels were last set.
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
