//! Tar archives, read strictly and written the same way every time.
//!
//! If the headers of an entry contradict each other, tar readers disagree about the meaning, and many attacks exploit
//! that. The existing tar crates choose one interpretation, which is right for unpacking; an archive of images is better
//! refused. This reader therefore accepts only archives that every reader understands in the same way. Anything ambiguous
//! fails with [`Error::InvalidArchive`](crate::error::Error::InvalidArchive) and the entry's name. The reader does no I/O:
//! the caller feeds bytes and receives entries and their data. It never allocates memory because of a size in a header.

mod catalogue;
mod field;
mod header;
mod index;
mod merge;
mod name;
mod pax;
mod reader;
mod records;
mod write;

pub use catalogue::Catalogue;
pub use index::{Index, Indexer};
pub use reader::{Event, Reader};
pub use records::Found;
pub use write::{END, Layout, Member, Place, header as write_header};

/// The unit of archives: a header is a block, and data is padded to whole blocks.
pub const BLOCK: usize = 512;

/// The limits of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most entries, global headers included.
    pub entries: u64,
    /// The most bytes of extended headers (PAX records, GNU long names) before one entry.
    pub header_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, header_bytes: 1 << 20 }
    }
}

/// The kind of an entry. Devices, pipes and sparse files are refused, so there are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A file with data.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A further name of an earlier entry.
    Hardlink,
}

impl Kind {
    /// The name of the kind in the Python API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Hardlink => "hardlink",
        }
    }
}

/// One entry of an archive, merged from all of its headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 0.
    pub index: u64,
    /// Its name within the archive: components joined by `/`, none of them `.` or `..`. Empty for the root directory.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Bytes of data; 0 for all but regular files.
    pub size: u64,
    /// Offset of its first header, which may be an extended header.
    pub header_offset: u64,
    /// Offset of its data.
    pub data_offset: u64,
    /// The target of a link: a name within the archive.
    pub target: Option<String>,
    /// The number of the first entry with the same name, if there is an earlier one.
    pub earlier: Option<u64>,
}

/// A fault, without the name of the entry: the reader adds that.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    expected: String,
    found: String,
}

impl Fault {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }
}

/// Quote untrusted text for a message: escaped, and at most 200 bytes of it.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
    let more = if bytes.len() > MOST { "…" } else { "" };
    format!("\"{}{more}\"", text.escape_debug())
}
