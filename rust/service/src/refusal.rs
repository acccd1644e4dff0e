//! Errors in their form on the wire: a code, and a message whose last words identify the error for containerd.
//!
//! `python/steelyard/containerd/_codes.py` does the same for stores that are written in Python.

use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};
use steelyard_core::error::Error;

use crate::grpc::code::Code;
use crate::times::rfc3339;

/// The most bytes of a message on the wire. It is sent in a header, and clients accept 8 KiB for all headers together.
const MESSAGE_LIMIT: usize = 2048;

/// The error of a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// The message for people, with containerd's suffix, at most 2 KiB.
    pub message: String,
    /// The error's code and fields as JSON, from which Steelyard's client reconstructs the error; may be empty.
    pub details: Vec<u8>,
    /// The full text for the log, which may contain paths. `None`: the log has `message`.
    pub log: Option<String>,
    /// The name of the limit that was reached.
    pub limit: Option<&'static str>,
    /// The code of the error's class in Python.
    pub class: String,
}

impl Refusal {
    /// An error of the service itself, without a class in Python.
    pub(crate) fn new(code: Code, text: &str) -> Self {
        Self::with(code, text, &Value::Null)
    }

    /// A request that does not parse.
    pub(crate) fn malformed(text: &str) -> Self {
        Self::with(Code::InvalidArgument, text, &json!({"code": "malformed_message"}))
    }

    /// A request that can never succeed.
    pub(crate) fn invalid(text: &str) -> Self {
        Self::with(Code::InvalidArgument, text, &json!({"code": "invalid_argument"}))
    }

    /// A limit of the service is reached.
    pub(crate) fn exhausted(limit: &'static str, text: &str) -> Self {
        let refused = Self::with(Code::ResourceExhausted, text, &json!({"code": "exhausted", "limit": limit}));
        Self { limit: Some(limit), ..refused }
    }

    /// Too many calls are open. The client should retry: the code is one after which clients do.
    pub(crate) fn busy(limit: &'static str, text: &str) -> Self {
        let refused = Self::with(Code::Unavailable, text, &json!({"code": "busy", "limit": limit}));
        Self { limit: Some(limit), ..refused }
    }

    /// Something does not exist.
    pub(crate) fn not_found(kind: &str, name: &str) -> Self {
        let fields = json!({"code": "not_found", "name": name, "kind": kind});
        Self::with(Code::NotFound, &format!("{kind} {name}: not found"), &fields)
    }

    /// Whether the thing of the call does not exist: there is nothing to remove.
    pub(crate) fn is_absence(&self) -> bool {
        self.code == Code::NotFound && self.is("not_found")
    }

    /// Whether the code of the error's class in Python is `class`.
    pub(crate) fn is(&self, class: &str) -> bool {
        self.class == class
    }

    /// The offset of a message of a Write is not the current offset of the ingest.
    pub(crate) fn wrong_offset(name: &str, offset: u64, current: u64) -> Self {
        let text = format!("ingest {name}: write at offset {offset}, expected {current}, or 0 to start over");
        let fields = json!({"code": "out_of_range", "name": name, "offset": offset, "size": current});
        Self::with(Code::OutOfRange, &text, &fields)
    }

    /// A Write has a negative total, which no size can match.
    pub(crate) fn wrong_total(name: &str, total: i64, actual: u64) -> Self {
        let text = format!("ingest {name}: expected {total} bytes, found {actual}");
        let fields = json!({"code": "unexpected_size", "ref": name, "expected": total, "actual": actual});
        Self::with(Code::FailedPrecondition, &text, &fields)
    }

    /// The store does not support the operation.
    pub(crate) fn unsupported(store: &str, operation: &str) -> Self {
        let text = format!("{store}: not supported by this store: {operation}");
        let fields = json!({"code": "unsupported", "store": store, "operation": operation});
        Self::with(Code::Unimplemented, &text, &fields)
    }

    fn with(code: Code, text: &str, fields: &Value) -> Self {
        let class = fields.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
        let details = if fields.is_null() { Vec::new() } else { fields.to_string().into_bytes() };
        let details = if details.len() <= MESSAGE_LIMIT { details } else { Vec::new() };
        Self { code, message: message(code, text), details, log: None, limit: None, class }
    }
}

impl From<Error> for Refusal {
    /// Convert an error of the core. No file system path reaches the client.
    fn from(error: Error) -> Self {
        let (code, name, fields) = described(&error);
        if let Error::Io { errno, operation, .. } = &error {
            let text = format!("{operation}: {}", reason(*errno));
            return Self { log: Some(error.to_string()), ..Self::with(code, &text, &json!({"code": name})) };
        }
        let mut all = Map::new();
        all.insert("code".to_owned(), name.into());
        if let Value::Object(fields) = fields {
            all.extend(fields);
        }
        let mut text = error.to_string();
        if let Error::DataCorrupt { name: path, .. } = &error
            && let Some(file) =
                Path::new(path).file_name().and_then(|file| file.to_str()).filter(|_| path.starts_with('/'))
        {
            // The path of a control file of the store is replaced by its file name.
            text = text.replace(path, file);
            all.insert("name".to_owned(), file.into());
        }
        Self { log: Some(error.to_string()), ..Self::with(code, &text, &Value::Object(all)) }
    }
}

/// The gRPC code of an error, the code of its class in Python, and the arguments that reconstruct it there.
fn described(error: &Error) -> (Code, &'static str, Value) {
    match error {
        Error::NotFound { kind, name } => (Code::NotFound, "not_found", json!({"name": name, "kind": kind})),
        Error::AlreadyExists { digest } => {
            (Code::AlreadyExists, "already_exists", json!({"digest": digest, "name": null}))
        }
        Error::NameTaken { name, digest } => {
            (Code::AlreadyExists, "already_exists", json!({"digest": digest, "name": name}))
        }
        Error::LeaseExists { lease } => (Code::AlreadyExists, "lease_exists", json!({"lease": lease})),
        Error::LeaseEnded { lease, reason } => {
            (Code::NotFound, "lease_ended", json!({"lease": lease, "reason": reason}))
        }
        Error::NameMoved { name, expected, actual } => {
            let fields = json!({"name": name, "expected": expected, "actual": actual});
            (Code::FailedPrecondition, "name_moved", fields)
        }
        Error::Unavailable { name, holder, since_ns, local } => {
            let fields = json!({"ref": name, "holder": holder, "since": since_ns.map(rfc3339), "local": local});
            (Code::Unavailable, "unavailable", fields)
        }
        Error::CollectionBusy { holder } => (Code::Unavailable, "collection_busy", json!({"holder": holder})),
        Error::CollectionRefused { cause, reason, .. } => {
            let fields = json!({"store": "the store", "cause": cause, "reason": reason});
            (Code::FailedPrecondition, "collection_refused", fields)
        }
        Error::FailedPrecondition { .. } | Error::StoreClosed { .. } | Error::IncompatibleFormat { .. } => {
            (Code::FailedPrecondition, "failed_precondition", Value::Null)
        }
        Error::UnexpectedDigest { expected, actual, name } => {
            let fields = json!({"ref": name, "expected": expected, "actual": actual});
            (Code::FailedPrecondition, "unexpected_digest", fields)
        }
        Error::UnexpectedSize { expected, actual, name } => {
            let fields = json!({"ref": name, "expected": expected, "actual": actual});
            (Code::FailedPrecondition, "unexpected_size", fields)
        }
        Error::Closed { name } => (Code::FailedPrecondition, "writer_closed", json!({"ref": name})),
        Error::Aborted { name } => (Code::Aborted, "aborted", json!({"ref": name})),
        Error::OutOfRange { name, offset, size } => {
            (Code::OutOfRange, "out_of_range", json!({"name": name, "offset": offset, "size": size}))
        }
        Error::DataCorrupt { name, expected, actual } => {
            let fields = json!({"name": name, "expected": expected, "actual": actual});
            (Code::DataLoss, "data_corrupt", fields)
        }
        Error::Io { errno, .. } => refused_by_system(*errno),
        Error::Source { .. } => (Code::Internal, "storage", Value::Null),
        Error::Cancelled => (Code::Cancelled, "cancelled", Value::Null),
        _ => invalid(error),
    }
}

/// The same for an error about an invalid value.
fn invalid(error: &Error) -> (Code, &'static str, Value) {
    let (name, fields) = match error {
        Error::InvalidDigest { text, reason } => ("invalid_digest", json!({"text": text, "reason": reason})),
        Error::InvalidDigestLength { text, expected, actual } => {
            ("invalid_digest_length", json!({"text": text, "expected": expected, "actual": actual}))
        }
        Error::UnsupportedAlgorithm { text, algorithm } => {
            ("unsupported_algorithm", json!({"text": text, "algorithm": algorithm}))
        }
        Error::InvalidFilter { text, position, reason } => {
            ("invalid_filter", json!({"text": text, "position": position, "reason": reason}))
        }
        Error::InvalidLabel { key, size, limit } => {
            ("invalid_label", json!({"key": key, "size": size, "allowed": limit}))
        }
        _ => ("invalid_argument", Value::Null),
    };
    (Code::InvalidArgument, name, fields)
}

fn refused_by_system(errno: i32) -> (Code, &'static str, Value) {
    match errno {
        libc::EACCES | libc::EPERM | libc::EROFS => (Code::PermissionDenied, "storage", Value::Null),
        libc::ENOSPC | libc::EDQUOT => (Code::ResourceExhausted, "storage_full", Value::Null),
        _ => (Code::Internal, "storage", Value::Null),
    }
}

/// The system's text for an error number.
fn reason(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn message(code: Code, text: &str) -> String {
    let suffix = code.suffix();
    let has_suffix = text.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with(": "));
    shortened(if has_suffix { text.to_owned() } else { format!("{text}: {suffix}") })
}

/// Cut the middle out of a text that is too long for a header. Characters that must be encoded there take three times the room.
fn shortened(mut text: String) -> String {
    let mut most = MESSAGE_LIMIT;
    while encoded(&text) > MESSAGE_LIMIT {
        most /= 2;
        let head: String = text.chars().take(most - most / 4).collect();
        let tail = text.chars().count().saturating_sub(most / 4);
        let tail: String = text.chars().skip(tail).collect();
        text = format!("{head}…{tail}");
    }
    text
}

/// An upper bound of the bytes that a text takes in a header.
fn encoded(text: &str) -> usize {
    text.bytes().map(|byte| if byte.is_ascii_alphanumeric() || b"_.-~/".contains(&byte) { 1 } else { 3 }).sum()
}
