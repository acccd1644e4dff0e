//! The answer to a request for the unfinished uploads of a bucket.

use chrono::DateTime;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::operation::{Upload, UploadMarker, UploadPage};

/// S3's `ListMultipartUploadsResult`. Other elements are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    uploads: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    key: String,
    upload_id: String,
    initiated: String,
}

/// The uploads in an answer.
pub(crate) fn parse(body: &str) -> Result<UploadPage> {
    let listing: Listing = quick_xml::de::from_str(body).map_err(|error| unreadable(&error.to_string()))?;
    let uploads = listing.uploads.into_iter().map(upload).collect::<Result<_>>()?;
    let next = if listing.is_truncated {
        let key = filled(listing.next_key_marker).map(UploadMarker::Key);
        let marker = key.or_else(|| filled(listing.next_upload_id_marker).map(UploadMarker::Id));
        Some(marker.ok_or_else(|| unreadable("it is truncated and has no marker for the next page"))?)
    } else {
        None
    };
    Ok(UploadPage { uploads, next })
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn upload(row: Row) -> Result<Upload> {
    let begun =
        DateTime::parse_from_rfc3339(&row.initiated).map_err(|error| unreadable(&format!("Initiated: {error}")))?;
    Ok(Upload { key: row.key, id: row.upload_id, begun_ns: begun.timestamp_nanos_opt().unwrap_or_default() })
}

fn unreadable(reason: &str) -> Error {
    Error::new(Kind::Refused, format!("the server's list of uploads cannot be read: {reason}"))
}

#[cfg(test)]
mod tests;
