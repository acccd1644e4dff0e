//! Shared parts of these tests.

use std::path::Path;
use std::sync::Arc;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::Result;
use steelyard_core::store::{BatchItem, Outcome, Put, Source, Store};

use crate::common::SHA256;

/// An item of bytes in memory, without further wishes.
pub fn item(bytes: &[u8]) -> BatchItem<'_> {
    BatchItem { source: Source::Bytes(bytes), algorithm: SHA256, expected: None, size: None, labels: None }
}

/// An item of a file.
pub fn file(path: &Path, limit: u64) -> BatchItem<'static> {
    let source = Source::File { path: path.to_owned(), limit };
    BatchItem { source, algorithm: Algorithm::Sha256, expected: None, size: None, labels: None }
}

/// Blobs with the bytes of those numbers.
pub fn numbered(numbers: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    numbers.into_iter().map(|number| format!("blob {number}").into_bytes()).collect()
}

/// Put blobs in one batch.
pub fn put_all(store: &Arc<Store>, blobs: &[Vec<u8>]) -> Vec<Result<Outcome>> {
    store.put_batch(&blobs.iter().map(|blob| item(blob)).collect::<Vec<_>>())
}

/// The result of a put that succeeded.
pub fn stored(result: &Result<Outcome>) -> Put {
    match result {
        Ok(Outcome::Stored(put)) => *put,
        other => panic!("not stored: {other:?}"),
    }
}
