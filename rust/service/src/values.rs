//! Conversion between messages of the protocol and values of the core.

use prost_types::FieldMask;
use steelyard_core::digest::Digest;
use steelyard_core::error::Error;
use steelyard_core::filter::MAX_FILTERS;
use steelyard_core::model::{Image, Info, Labels, Lease, Status, Target};

use crate::proto::containerd::types::Descriptor;
use crate::proto::{content, images, leases};
use crate::refusal::Refusal;
use crate::times::{rfc3339, timestamp};

/// A header of Steelyard's client. With it, a label with an empty value is set, where containerd removes the label; and an Abort or Delete
/// of a missing ingest or blob is `NOT_FOUND`.
pub(crate) const EXACT: &str = "steelyard-exact";

/// containerd's label for the end of a lease. A store keeps the end as a field of the lease, not as a label.
pub(crate) const EXPIRE: &str = "containerd.io/gc.expire";

/// Convert a size or an offset, which fits into 63 bits.
pub(crate) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(crate) fn info_message(info: &Info) -> content::Info {
    content::Info {
        digest: info.digest.to_string(),
        size: signed(info.size),
        created_at: Some(timestamp(info.created_ns)),
        updated_at: Some(timestamp(info.updated_ns)),
        labels: (*info.labels).clone(),
    }
}

pub(crate) fn status_message(status: &Status) -> content::Status {
    content::Status {
        started_at: Some(timestamp(status.started_ns)),
        updated_at: Some(timestamp(status.updated_ns)),
        r#ref: status.ref_.clone(),
        offset: signed(status.offset),
        total: signed(status.total.unwrap_or(0)),
        expected: status.expected.map_or_else(String::new, |digest| digest.to_string()),
    }
}

pub(crate) fn image_message(image: Image) -> images::Image {
    images::Image {
        name: image.name,
        labels: image.labels,
        target: Some(Descriptor {
            media_type: image.target.media_type.unwrap_or_default(),
            digest: image.target.digest.to_string(),
            size: signed(image.target.size.unwrap_or(0)),
            annotations: image.target.annotations,
        }),
        created_at: Some(timestamp(image.created_ns)),
        updated_at: Some(timestamp(image.updated_ns)),
    }
}

pub(crate) fn lease_message(lease: Lease) -> leases::Lease {
    let mut labels = lease.labels;
    if let Some(ns) = lease.expires_ns {
        labels.insert(EXPIRE.to_owned(), rfc3339(ns));
    }
    leases::Lease { id: lease.id, created_at: Some(timestamp(lease.created_ns)), labels }
}

/// The target of a name. On the wire, a size of 0 and an empty media type mean unknown.
pub(crate) fn target_value(message: Descriptor) -> Result<Target, Refusal> {
    let Ok(size) = u64::try_from(message.size) else {
        let shown: String = message.digest.chars().take(200).collect();
        let text = format!("descriptor {shown}: size {}: expected 0 (unknown) or more", message.size);
        return Err(Refusal::invalid(&text));
    };
    Ok(Target {
        digest: Digest::parse(&message.digest)?,
        size: (size > 0).then_some(size),
        media_type: (!message.media_type.is_empty()).then_some(message.media_type),
        annotations: message.annotations,
    })
}

/// Convert labels. Unless `exact`, labels with an empty value are dropped: in containerd an empty value removes the label.
pub(crate) fn labels_value(mut labels: Labels, exact: bool) -> Labels {
    if !exact {
        labels.retain(|_, value| !value.is_empty());
    }
    labels
}

/// The filters of a request. Too many filters are refused before they are parsed.
pub(crate) fn filters_value(texts: Vec<String>) -> Result<Vec<String>, Refusal> {
    if let Some(text) = texts.get(MAX_FILTERS) {
        let reason = format!("a list of {} filters, at most {MAX_FILTERS} are allowed", texts.len());
        return Err(Error::InvalidFilter { text: text.clone(), position: 0, reason }.into());
    }
    Ok(texts)
}

/// The most bytes of the ref of an ingest.
const REF_LIMIT: usize = 1 << 20;

/// The most bytes of the ID of a lease.
const LEASE_LIMIT: usize = 1024;

/// The most bytes of an image name.
const NAME_LIMIT: usize = 4096;

/// Refuse an invalid ref.
pub(crate) fn check_ref(text: &str) -> Result<(), Refusal> {
    check_length("ref", text, REF_LIMIT)
}

/// Refuse an invalid ID of a lease.
pub(crate) fn check_lease(text: &str) -> Result<(), Refusal> {
    check_shown("lease", text, LEASE_LIMIT)
}

/// Refuse an invalid image name.
pub(crate) fn check_name(text: &str) -> Result<(), Refusal> {
    check_shown("image name", text, NAME_LIMIT)
}

fn check_length(kind: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    if (1..=limit).contains(&text.len()) {
        return Ok(());
    }
    let found = format!("expected 1 to {limit} bytes in UTF-8, found {}", text.len());
    Err(Refusal::invalid(&format!("{kind} {:?}: {found}", head(text))))
}

/// Check a text that is shown to people: it must not have control characters either.
fn check_shown(kind: &str, text: &str, limit: usize) -> Result<(), Refusal> {
    check_length(kind, text, limit)?;
    if text.chars().any(char::is_control) {
        return Err(Refusal::invalid(&format!("{kind} {:?}: it has control characters", head(text))));
    }
    Ok(())
}

/// The beginning of untrusted text, for a message.
pub(crate) fn head(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The fields that an update changes; an empty list means all.
pub(crate) fn paths(mask: Option<FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}

/// Field masks in JSON: a list of paths.
pub(crate) mod mask_json {
    use prost_types::FieldMask;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[allow(clippy::ref_option, reason = "serde's `with` passes this type")]
    pub(crate) fn serialize<S: Serializer>(mask: &Option<FieldMask>, serializer: S) -> Result<S::Ok, S::Error> {
        mask.as_ref().map(|mask| &mask.paths).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FieldMask>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(|paths| FieldMask { paths }))
    }
}
