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
        /// Mark it as written by this crate. A server that keeps the mark as an attribute of a file takes longer for it.
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
    /// Remove an object; one that does not exist is no error.
    Delete {
        /// Its key.
        key: String,
    },
    /// Sign removals of objects, which the server refuses when their time has passed. No request is made.
    SignRemovals {
        /// The keys.
        keys: Vec<String>,
        /// How long they are valid from now on, by the clock of this machine, in seconds.
        seconds: u64,
    },
    /// Remove an object by a signed removal; one that does not exist is no error. It is tried once.
    Remove {
        /// The signed removal.
        url: String,
    },
    /// List objects in the order of their keys.
    List {
        /// Their keys begin so.
        prefix: String,
        /// Only keys after this one.
        after: Option<String>,
        /// At most so many; the server gives at most 1,000.
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
    /// Make the object of all parts of a multipart upload.
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
    /// List multipart uploads that are unfinished.
    Uploads {
        /// Their keys begin so.
        prefix: String,
        /// The end of the page before.
        after: Option<UploadMarker>,
        /// At most so many; the server gives at most 1,000.
        limit: usize,
    },
    /// Ask the server for its name and its time.
    Server,
}

/// The bytes of a part.
#[derive(Debug)]
pub enum Payload {
    /// In memory.
    Bytes(Bytes),
    /// A range of a file, which is read when the request starts.
    File {
        /// The file.
        path: PathBuf,
        /// Where the part begins.
        offset: u64,
        /// Its bytes.
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
    /// The bytes that it sends or asks for, as far as is known.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { data, .. } => data.len(),
            Self::Part { data, .. } => data.size(),
            Self::Get { range: Some(range), .. } => usize::try_from(range.end - range.start).unwrap_or(usize::MAX),
            _ => 0,
        }
    }
}

/// The facts that the server keeps of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its key.
    pub key: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its entity tag.
    pub tag: Option<String>,
    /// When it was written, by the server's clock: nanoseconds since the epoch.
    pub modified_ns: i64,
    /// Whether it has the mark of this crate; unknown (false) in a listing.
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

/// A multipart upload that is unfinished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The key of its object.
    pub key: String,
    /// Its ID.
    pub id: String,
    /// When it was begun, by the server's clock: nanoseconds since the epoch.
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

/// The end of a page of uploads, where the next one begins.
///
/// S3 pages by key and ID together, but no such page begins at versitygw 1.8.0, which orders by key as S3 does, nor at `SeaweedFS`
/// 4.48, which orders by ID. A key alone is understood by S3, too: the next page then begins at the next key.
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
    /// Its name, if it gives one.
    pub name: Option<String>,
    /// Its time, in whole seconds, if it gives one: nanoseconds since the epoch.
    pub now_ns: Option<i64>,
}

/// The result of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The tag of the object that was written, the ID of an upload, or what `Complete` needs of a part.
    Text(String),
    /// Signed removals, in order.
    Texts(Vec<String>),
    /// An object and bytes of it.
    Object(Meta, Bytes),
    /// An object.
    Meta(Meta),
    /// Objects.
    Page(Page),
    /// Uploads.
    Uploads(UploadPage),
    /// A server.
    Server(Server),
    /// The results of several operations, in order.
    All(Vec<Result<Outcome>>),
}
