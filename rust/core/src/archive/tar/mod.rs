//! Tar archives, read strictly and written the same way every time.
//!
//! Programs that read tar disagree about what to do when the headers of an entry contradict each other, and whole
//! families of attacks live on that. Crates for tar choose one reading, as they should for unpacking; an archive of an
//! image is better refused. So this is a reader of our own: it takes what every reader understands alike, and whatever
//! could be understood in two ways is [`Error::InvalidArchive`](crate::error::Error::InvalidArchive) with the entry's
//! name. It does no I/O: bytes go in, entries and their data come out, and nothing is ever allocated because a header
//! says so.

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
    /// Entries, and global headers.
    pub entries: u64,
    /// Bytes of extended headers (PAX records, GNU long names) ahead of one entry.
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
    /// Its name, as Python has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Hardlink => "hardlink",
        }
    }
}

/// One entry of an archive, as all of its headers agree on.
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
    /// Where its first header begins, extended headers included.
    pub header_offset: u64,
    /// Where its data begins.
    pub data_offset: u64,
    /// The name within the archive that a link leads to.
    pub target: Option<String>,
    /// The number of the first entry with the same name, if there is one before this.
    pub earlier: Option<u64>,
}

/// A fault whose entry is not known yet.
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

/// Text from outside, for a message: escaped, and not longer than a line.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
    let more = if bytes.len() > MOST { "…" } else { "" };
    format!("\"{}{more}\"", text.escape_debug())
}
