//! The operations of S3 that the store needs, and their outcomes.

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;

use crate::error::Result;

/// The operation of a request.
#[derive(Debug)]
pub enum Operation {
    /// Write an object.
    Put {
        /// Its key.
        key: String,
        /// Its bytes.
        data: Bytes,
        /// Fail with `Precondition` if the object exists.
        create: bool,
        /// Mark it as written by this crate. Servers that store the mark as an attribute of a file take longer for it.
        mark: bool,
    },
    /// Read an object or a part of it.
    Get {
        /// Its key.
        key: String,
        /// The bytes to read, if not all.
        range: Option<Range<u64>>,
        /// Fail with `Precondition` unless the object has this tag.
        tag: Option<String>,
    },
    /// Look at an object.
    Head {
        /// Its key.
        key: String,
    },
    /// Remove an object. It is not an error if the object does not exist.
    Delete {
        /// Its key.
        key: String,
    },
    /// Sign removals of objects. The server refuses them after `seconds`. This makes no request.
    SignRemovals {
        /// The keys.
        keys: Vec<String>,
        /// How long the signatures are valid, in seconds, by the clock of this machine.
        seconds: u64,
    },
    /// Remove an object by a signed removal, in one attempt. It is not an error if the object does not exist.
    Remove {
        /// The signed removal.
        url: String,
    },
    /// List objects in the order of their keys.
    List {
        /// The prefix of their keys.
        prefix: String,
        /// The key after which the listing begins.
        after: Option<String>,
        /// The most objects. A server returns at most 1,000.
        limit: usize,
    },
    /// Copy an object at the server.
    Copy {
        /// The key of the object.
        from: String,
        /// The key of the copy.
        to: String,
    },
    /// Begin a multipart upload.
    Begin {
        /// The key of the object.
        key: String,
    },
    /// Send a part of a multipart upload.
    Part {
        /// The key of the object.
        key: String,
        /// The upload's ID.
        upload: String,
        /// The part's number, from 0.
        number: usize,
        /// Its bytes.
        data: Payload,
    },
    /// Create the object from all parts of a multipart upload.
    Complete {
        /// The key of the object.
        key: String,
        /// The upload's ID.
        upload: String,
        /// The outcomes of the parts, in order.
        parts: Vec<String>,
    },
    /// Discard a multipart upload.
    Abort {
        /// The key of the object.
        key: String,
        /// The upload's ID.
        upload: String,
    },
    /// List unfinished multipart uploads.
    Uploads {
        /// The prefix of their keys.
        prefix: String,
        /// The end of the previous page.
        after: Option<UploadMarker>,
        /// The most uploads. A server returns at most 1,000.
        limit: usize,
    },
    /// Request the server's name and time.
    Server,
}

/// The bytes of a part.
#[derive(Debug)]
pub enum Payload {
    /// In memory.
    Bytes(Bytes),
    /// A range of a file, which is read when the request starts.
    File {
        /// The path of the file.
        path: PathBuf,
        /// The position of the first byte.
        offset: u64,
        /// The number of bytes.
        size: usize,
    },
}

impl Payload {
    /// Its size, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { size, .. } => *size,
        }
    }
}

impl Operation {
    /// The number of bytes that it sends or requests, as far as it is known.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { data, .. } => data.len(),
            Self::Part { data, .. } => data.size(),
            Self::Get { range: Some(range), .. } => usize::try_from(range.end - range.start).unwrap_or(usize::MAX),
            _ => 0,
        }
    }
}

/// The metadata of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its key.
    pub key: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its entity tag.
    pub tag: Option<String>,
    /// The time at which it was written, by the server's clock: nanoseconds since the epoch.
    pub modified_ns: i64,
    /// Whether it has the mark of this crate. Always false in a listing.
    pub is_ours: bool,
}

/// A page of a listing.
#[derive(Debug)]
pub struct Page {
    /// The objects.
    pub objects: Vec<Meta>,
    /// Whether there are more.
    pub more: bool,
}

/// An unfinished multipart upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The key of its object.
    pub key: String,
    /// Its ID.
    pub id: String,
    /// The time of its start, by the server's clock: nanoseconds since the epoch.
    pub begun_ns: i64,
}

/// A page of a listing of uploads.
#[derive(Debug, PartialEq, Eq)]
pub struct UploadPage {
    /// The uploads.
    pub uploads: Vec<Upload>,
    /// Its end, if there are more.
    pub next: Option<UploadMarker>,
}

/// The end of a page of uploads, after which the next page begins.
///
/// S3 accepts a key and an ID together. versitygw 1.8.0, which orders by key as S3 does, and `SeaweedFS` 4.48, which orders by ID, do not.
/// A key alone works with S3, too: the next page then begins at the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadMarker {
    /// After all uploads of this key.
    Key(String),
    /// After the upload with this ID.
    Id(String),
}

/// A server, as it describes itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name, if it reports one.
    pub name: Option<String>,
    /// Its time, if it reports one: whole seconds, in nanoseconds since the epoch.
    pub now_ns: Option<i64>,
}

/// The result of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// The operation has succeeded, and has no result.
    Done,
    /// The tag of the object that was written, the ID of an upload, or the text of a part for `Complete`.
    Text(String),
    /// Signed removals, in order.
    Texts(Vec<String>),
    /// The metadata of an object, and bytes of it.
    Object(Meta, Bytes),
    /// The metadata of an object.
    Meta(Meta),
    /// A page of objects.
    Page(Page),
    /// A page of uploads.
    Uploads(UploadPage),
    /// The server's name and time.
    Server(Server),
    /// The results of several operations, in order.
    All(Vec<Result<Outcome>>),
}
