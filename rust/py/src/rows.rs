//! Conversion of the core's values to plain tuples, from which Python creates its own values.

use std::collections::BTreeMap;
use std::sync::Arc;

use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::model::{Info, Status};

/// algorithm, encoded, size, created (ns), updated (ns), labels
pub(crate) type InfoRow = (&'static str, String, u64, i64, i64, BTreeMap<String, String>);
/// ref, offset, total, expected, started (ns), updated (ns)
pub(crate) type StatusRow = (String, u64, Option<u64>, Option<String>, i64, i64);

pub(crate) fn info_row(info: Info) -> InfoRow {
    let digest = &info.digest;
    (
        digest.algorithm().name(),
        digest.encoded(),
        info.size,
        info.created_ns,
        info.updated_ns,
        Arc::unwrap_or_clone(info.labels),
    )
}

pub(crate) fn status_row(status: Status) -> StatusRow {
    let expected = status.expected.map(|digest| digest.to_string());
    (status.ref_, status.offset, status.total, expected, status.started_ns, status.updated_ns)
}

pub(crate) fn parse_all(texts: &[String]) -> steelyard_core::error::Result<Vec<Digest>> {
    texts.iter().map(|text| Digest::parse(text)).collect()
}

pub(crate) fn optional_digest(text: Option<&str>) -> steelyard_core::error::Result<Option<Digest>> {
    text.map(Digest::parse).transpose()
}

pub(crate) fn optional_algorithm(name: Option<&str>) -> steelyard_core::error::Result<Option<Algorithm>> {
    name.map(Algorithm::parse).transpose()
}
