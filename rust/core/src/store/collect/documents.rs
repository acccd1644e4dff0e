//! The blobs that a blob names as a document: read once, from verified bytes.

use crate::archive::json::{DOCUMENT_LIMIT, References, may_be_document, references};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::hash::Hasher;
use crate::volume::Volume;

/// The first bytes, which show whether a blob may be a document.
const HEAD: u64 = 256;

/// A blob as a document.
#[derive(Debug)]
pub(super) enum Content {
    /// It is not stored.
    Absent,
    /// It is not a document.
    Leaf,
    /// It may be a document, but is too large to be read now.
    Later,
    /// It is complete, but not JSON, although it begins like JSON or should be a document.
    Malformed,
    /// It is complete, and names these blobs.
    Document(References),
}

/// Read a blob as a document, unless it has more than `most` bytes. Without `is_document`, it is a document only if it begins like one.
///
/// Fails if the blob cannot be read, because it may name blobs.
pub(super) fn read(volume: &Volume, digest: &Digest, is_document: bool, most: u64) -> Result<Content> {
    let refused = |reason: String| Error::CollectionRefused {
        path: volume.path().to_owned(),
        cause: "document",
        reason: format!("{digest} may name blobs, and {reason}"),
    };
    let unreadable = |error: Error| match error {
        Error::Io { .. } | Error::OutOfRange { .. } => refused(format!("cannot be read: {error}")),
        other => other,
    };
    let blob = match volume.inspect(digest) {
        Ok(blob) => blob,
        Err(Error::NotFound { .. }) => return Ok(Content::Absent),
        Err(error) => return Err(unreadable(error)),
    };
    let size = blob.size();
    let mut data = vec![0; usize::try_from(size.min(HEAD)).unwrap_or_default()];
    blob.read_exact_at(&mut data, 0).map_err(unreadable)?;
    if !is_document && (size > DOCUMENT_LIMIT || !may_be_document(&data)) {
        return Ok(Content::Leaf);
    }
    if size > DOCUMENT_LIMIT {
        return Err(refused(format!("has {size} bytes; documents of up to {DOCUMENT_LIMIT} bytes are read")));
    }
    if size > most {
        return Ok(Content::Later);
    }
    let head = data.len();
    data.resize(usize::try_from(size).unwrap_or_default(), 0);
    blob.read_exact_at(&mut data[head..], head as u64).map_err(unreadable)?;
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&data);
    let actual = hasher.digest();
    if actual != *digest {
        let (expected, actual) = (digest.to_string(), actual.to_string());
        return Err(Error::DataCorrupt { name: digest.to_string(), expected, actual });
    }
    Ok(references(&data).map_or(Content::Malformed, Content::Document))
}
