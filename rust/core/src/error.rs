//! Every error of the core: one enum, mapped to the Python classes of the same names in one `match`.
//!
//! The messages are those of `python/steelyard/errors`; that package is the contract and explains each kind.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of the core's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error, with its values. It can be cloned, so that a poisoned ingest can return the same error again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The caller no longer wants the result; nothing was done.
    Cancelled,
    /// Nothing of that name is stored.
    NotFound {
        /// The kind of the missing thing: `blob`, `ingest`, `image name` or `lease`.
        kind: &'static str,
        /// The digest, the ref or the image name.
        name: String,
    },
    /// The blob is stored already.
    AlreadyExists {
        /// Its digest, as text.
        digest: String,
    },
    /// The image name is taken.
    NameTaken {
        /// The name.
        name: String,
        /// The digest of its target, as text.
        digest: String,
    },
    /// A lease with this ID exists already.
    LeaseExists {
        /// The ID.
        lease: String,
    },
    /// The lease under which the call works has ended.
    LeaseEnded {
        /// Its ID.
        lease: String,
        /// The reason.
        reason: &'static str,
    },
    /// The image name holds another target than the caller expected.
    NameMoved {
        /// The name.
        name: String,
        /// The expected digest of its target, as text.
        expected: String,
        /// The digest of its target, as text.
        actual: String,
    },
    /// Another writer holds the ref, or another user the store.
    Unavailable {
        /// The ref, or the path of the store.
        name: String,
        /// For people: `this process`, `process 4711` or `unknown`.
        holder: String,
        /// The time at which the holder took it (ns since the epoch), if it is known.
        since_ns: Option<i64>,
        /// Whether the holder uses the same store object.
        local: bool,
    },
    /// Another collection of the store is in progress.
    CollectionBusy {
        /// For people: `process 4711` or `unknown`.
        holder: String,
    },
    /// The store cannot know which blobs are needed; nothing was removed.
    CollectionRefused {
        /// The root.
        path: PathBuf,
        /// `roots`, `open`, `containerd` or `document`.
        cause: &'static str,
        /// For people: what was found, and the next step.
        reason: String,
    },
    /// The call needs another state; nothing was changed.
    FailedPrecondition {
        /// The state that was found, and the next step.
        message: String,
    },
    /// The bytes have another digest than expected.
    UnexpectedDigest {
        /// The requested value, as text.
        expected: String,
        /// The value of the bytes, as text.
        actual: String,
        /// The ingest's ref, or nothing for a write without one.
        name: Option<String>,
    },
    /// There are more or fewer bytes than expected.
    UnexpectedSize {
        /// The requested size, in bytes.
        expected: u64,
        /// The present size, in bytes.
        actual: u64,
        /// The ingest's ref, or nothing for a write without one.
        name: Option<String>,
    },
    /// The store is closed.
    StoreClosed {
        /// A sentence that says so.
        message: String,
    },
    /// The writer or reader is closed.
    Closed {
        /// Its ref or digest.
        name: String,
    },
    /// The root was written in a format that this release does not read.
    IncompatibleFormat {
        /// The root.
        path: PathBuf,
        /// The format found there.
        found: String,
        /// The newest format that this release reads.
        supported: String,
    },
    /// The ingest was discarded under its writer.
    Aborted {
        /// Its ref.
        name: String,
    },
    /// The call can never succeed with these arguments.
    InvalidArgument {
        /// The fault.
        message: String,
    },
    /// The text is not a digest.
    InvalidDigest {
        /// The text.
        text: String,
        /// The fault.
        reason: String,
    },
    /// The digest is too long or too short for its algorithm.
    InvalidDigestLength {
        /// The text.
        text: String,
        /// Hex digits of that algorithm.
        expected: usize,
        /// Hex digits found.
        actual: usize,
    },
    /// The name is well-formed, but not a supported algorithm.
    UnsupportedAlgorithm {
        /// The digest or name.
        text: String,
        /// The algorithm's name.
        algorithm: String,
    },
    /// A filter does not parse.
    InvalidFilter {
        /// The filter.
        text: String,
        /// Where, in characters from 0.
        position: usize,
        /// The fault.
        reason: String,
    },
    /// A label has an empty key, or is too long.
    InvalidLabel {
        /// Its key.
        key: String,
        /// Bytes of key and value together.
        size: usize,
        /// The most bytes of key and value together.
        limit: usize,
    },
    /// An offset lies past the end.
    OutOfRange {
        /// The digest or ref.
        name: String,
        /// The requested offset, in bytes.
        offset: u64,
        /// The size found, in bytes.
        size: u64,
    },
    /// Stored bytes do not match their digest, or a control file is damaged.
    DataCorrupt {
        /// A digest, or the path of a control file.
        name: String,
        /// The expected value.
        expected: String,
        /// The value that was found.
        actual: String,
    },
    /// An archive is malformed, ends early, contradicts itself or has a feature that no image needs.
    InvalidArchive {
        /// The entry's name; `None` if the fault is in the archive itself.
        entry: Option<String>,
        /// The expected value.
        expected: String,
        /// The value that was found.
        found: String,
        /// The position in the archive, in bytes after decompression.
        offset: Option<u64>,
    },
    /// An image needs more than the limits of the call allow.
    LimitExceeded {
        /// The value that is too large.
        name: String,
        /// The name of the limit.
        limit: &'static str,
        /// The most that it allows.
        allowed: u64,
        /// The actual amount; `None` if the input was not read to its end.
        found: Option<u64>,
    },
    /// The operating system refused a call.
    Io {
        /// The error number.
        errno: i32,
        /// The path of the call, if it has one.
        path: Option<PathBuf>,
        /// The call or step that failed.
        operation: &'static str,
    },
    /// A source, which is not part of the store, could not be read.
    Source {
        /// The error number of the operating system.
        errno: i32,
    },
}

/// Whether the system refuses more bytes with this number: a full disk, a quota, a limit of size.
pub(crate) fn is_limit(errno: i32) -> bool {
    matches!(errno, libc::ENOSPC | libc::EDQUOT | libc::EFBIG)
}

impl Error {
    /// Return the error for a refusal of the operating system. A failure without a number counts as EIO.
    pub fn io(error: &io::Error, path: impl Into<PathBuf>, operation: &'static str) -> Self {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Self::Io { errno, path: Some(path.into()), operation }
    }

    /// Whether there was no space: the disk is full, or a quota or a limit of size is reached.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { errno, .. } if is_limit(*errno))
    }

    /// Return the error for a blob that is not stored.
    pub fn no_blob(digest: impl fmt::Display) -> Self {
        Self::NotFound { kind: "blob", name: digest.to_string() }
    }

    /// Return the error for the use of a store that was closed.
    pub fn store_closed(path: impl fmt::Display) -> Self {
        Self::StoreClosed { message: format!("store {path}: not open; use it in `async with`") }
    }

    /// Return the error for an ingest that does not exist.
    pub fn no_ingest(ref_: impl Into<String>) -> Self {
        Self::NotFound { kind: "ingest", name: ref_.into() }
    }
}

/// Adds the step and the path to the failure of a system call.
pub trait At<T> {
    /// Convert a failure to [`Error::Io`]. The path is only made if it is needed.
    fn at<P: Into<PathBuf>>(self, operation: &'static str, path: impl FnOnce() -> P) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at<P: Into<PathBuf>>(self, operation: &'static str, path: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|error| Error::io(&error, path(), operation))
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { kind, name } => write!(f, "{kind} {name}: not found"),
            Self::AlreadyExists { digest } => write!(f, "blob {digest}: already exists"),
            Self::NameTaken { name, digest } => write!(f, "image name {name}: holds {digest}"),
            Self::LeaseExists { lease } => write!(f, "lease {lease}: already exists"),
            Self::LeaseEnded { lease, reason } => write!(f, "lease {lease}: {reason}"),
            Self::NameMoved { name, expected, actual } => {
                write!(f, "image name {name}: expected it to hold {expected}, found {actual}")
            }
            Self::Unavailable { name, holder, .. } => write!(f, "ingest {name}: held by {holder}"),
            Self::CollectionBusy { holder } => write!(f, "collection: {holder} is collecting"),
            Self::CollectionRefused { path, reason, .. } => {
                write!(f, "{}: nothing was collected: {reason}", path.display())
            }
            Self::FailedPrecondition { message }
            | Self::StoreClosed { message }
            | Self::InvalidArgument { message } => f.write_str(message),
            Self::UnexpectedDigest { expected, actual, name } => {
                write!(f, "{}expected digest {expected}, found {actual}", Of(name.as_deref()))
            }
            Self::UnexpectedSize { expected, actual, name } => {
                write!(f, "{}expected {expected} bytes, found {actual}", Of(name.as_deref()))
            }
            Self::Closed { name } => write!(f, "{name}: closed"),
            Self::IncompatibleFormat { path, found, supported } => {
                write!(f, "{}: store format {found}, this release reads up to {supported}", path.display())
            }
            Self::Aborted { name } => write!(f, "ingest {name}: aborted or taken by another caller"),
            Self::InvalidDigest { .. }
            | Self::InvalidDigestLength { .. }
            | Self::UnsupportedAlgorithm { .. }
            | Self::InvalidFilter { .. }
            | Self::InvalidLabel { .. } => self.fmt_invalid(f),
            Self::OutOfRange { name, offset, size } => {
                write!(f, "{name}: offset {offset} is past the end at {size}")
            }
            Self::DataCorrupt { name, expected, actual } => {
                write!(f, "{name}: corrupt: expected {expected}, found {actual}")
            }
            Self::InvalidArchive { .. } | Self::LimitExceeded { .. } => self.fmt_image(f),
            Self::Io { errno, path, operation } => io_message(f, *errno, path.as_deref(), operation),
            Self::Source { errno } => io_message(f, *errno, None, "read the source"),
            Self::Cancelled => f.write_str("cancelled while another process held a lock"),
        }
    }
}

impl Error {
    /// The messages about refused values.
    fn fmt_invalid(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidDigest { text, reason } => write!(f, "digest {text:?}: {reason}"),
            Self::InvalidDigestLength { text, expected, actual } => {
                write!(f, "digest {text:?}: expected {expected} hex digits, found {actual}")
            }
            Self::UnsupportedAlgorithm { text, algorithm } => {
                write!(f, "digest {text:?}: unsupported algorithm {algorithm:?}; ")?;
                f.write_str("sha256, sha384, sha512 and blake3 are known")
            }
            Self::InvalidFilter { text, position, reason } => {
                let (shown, more) =
                    text.char_indices().nth(200).map_or((text.as_str(), ""), |(at, _)| (&text[..at], "…"));
                write!(f, "filter {:?}, position {position}: {reason}", format!("{shown}{more}"))
            }
            Self::InvalidLabel { key, .. } if key.is_empty() => {
                write!(f, "label {key:?}: the key is empty")
            }
            Self::InvalidLabel { key, size, limit } => {
                write!(f, "label {key:?}: key and value are {size} bytes, at most {limit} are allowed")
            }
            _ => unreachable!("`fmt` sends the kinds above only"),
        }
    }

    /// The messages about untrusted images.
    fn fmt_image(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidArchive { entry, expected, found, offset } => {
                match entry {
                    Some(name) => write!(f, "archive entry '{name}'")?,
                    None => f.write_str("archive")?,
                }
                if let Some(offset) = offset {
                    write!(f, " at byte {offset}")?;
                }
                write!(f, ": expected {expected}, found {found}")
            }
            Self::LimitExceeded { name, limit, allowed, found } => {
                write!(f, "{name}: over the limit {limit}: at most {allowed} allowed, found ")?;
                match found {
                    Some(found) => write!(f, "{found}"),
                    None => f.write_str("more"),
                }
            }
            _ => unreachable!("`fmt` sends the kinds above only"),
        }
    }
}

fn io_message(f: &mut fmt::Formatter<'_>, errno: i32, path: Option<&Path>, operation: &str) -> fmt::Result {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let reason = text.split(" (os error").next().unwrap_or(&text);
    write!(f, "{operation}: [Errno {errno}] {reason}")?;
    path.map_or(Ok(()), |path| write!(f, ": '{}'", path.display()))
}

/// The beginning of a message about an ingest; empty for a write without one.
struct Of<'a>(Option<&'a str>);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |name| write!(f, "ingest {name}: "))
    }
}

#[cfg(test)]
mod tests;
