//! A walk through a directory of sources, in the order of their names.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::vec::IntoIter;

use crate::sys::{FileKind, SourceDirectory, SourceStatus, source_status, source_target};

/// An entry of a walk.
#[derive(Debug)]
pub struct Found {
    /// Its path: the path of the directory as given by the caller, `/`, and the path below it.
    pub path: Vec<u8>,
    /// Its kind, with the values of that kind.
    pub kind: FoundKind,
}

/// The kind of an entry.
#[derive(Debug)]
pub enum FoundKind {
    /// A regular file.
    File(SourceStatus),
    /// A symbolic link with its target.
    Link(Vec<u8>),
    /// An empty directory.
    Empty,
    /// A device, a socket or a named pipe.
    Special,
    /// The directory that is left out.
    LeftOut,
    /// An entry that cannot be read.
    Failed(io::Error),
}

/// A walk in progress. The names in each directory are visited in the order of their bytes. Links are not followed, so there are no
/// loops.
///
/// It keeps the remaining names of the current directories, and no descriptor.
#[derive(Debug)]
pub struct DirectoryWalk {
    levels: Vec<Level>,
    next: Option<Vec<u8>>,
    leave_out: Option<(u64, u64)>,
}

/// The remaining names of a directory, and its path with a `/`.
#[derive(Debug)]
struct Level {
    prefix: Vec<u8>,
    names: IntoIter<(Vec<u8>, Option<FileKind>)>,
}

impl DirectoryWalk {
    /// Walk through `top`, which may be a link, but leave out the directory with this device and inode.
    #[must_use]
    pub fn new(top: Vec<u8>, leave_out: Option<(u64, u64)>) -> Self {
        Self { levels: Vec::new(), next: Some(top), leave_out }
    }

    /// Return the next entries, at most `most`; an empty list at the end.
    pub fn take(&mut self, most: usize) -> Vec<Found> {
        let mut found = Vec::new();
        while found.len() < most {
            if let Some(path) = self.next.take() {
                found.extend(self.enter(path));
                continue;
            }
            let Some(level) = self.levels.last_mut() else { break };
            let Some((name, kind)) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = [level.prefix.as_slice(), &name].concat();
            match look(&path, kind) {
                Some(kind) => found.push(Found { path, kind }),
                None => self.next = Some(path),
            }
        }
        found
    }

    /// Read the names of a directory. Returns an entry for the directory if it is empty, left out or unreadable.
    fn enter(&mut self, path: Vec<u8>) -> Option<Found> {
        let is_top = self.levels.is_empty();
        let names = match self.names(&path, is_top) {
            Ok(Some(names)) => names,
            Ok(None) => return Some(Found { path, kind: FoundKind::LeftOut }),
            Err(error) => return Some(Found { path, kind: FoundKind::Failed(error) }),
        };
        if names.is_empty() && !is_top {
            return Some(Found { path, kind: FoundKind::Empty });
        }
        let mut prefix = path;
        if prefix.last().is_some_and(|last| *last != b'/') {
            prefix.push(b'/');
        }
        self.levels.push(Level { prefix, names: names.into_iter() });
        None
    }

    /// Return the names in a directory; `None` if it is left out.
    #[allow(clippy::type_complexity, reason = "it is what `SourceDirectory::names` gives")]
    fn names(&self, path: &[u8], follow: bool) -> io::Result<Option<Vec<(Vec<u8>, Option<FileKind>)>>> {
        let directory = SourceDirectory::open(Path::new(OsStr::from_bytes(path)), follow)?;
        if self.leave_out.is_some() && self.leave_out == Some(directory.id()?) {
            return Ok(None);
        }
        directory.names().map(Some)
    }
}

/// Look at an entry; `None` if it is a directory.
fn look(path: &[u8], known: Option<FileKind>) -> Option<FoundKind> {
    match known {
        Some(FileKind::Directory) => return None,
        Some(FileKind::Symlink) => return Some(link(path)),
        Some(FileKind::Other) => return Some(FoundKind::Special),
        Some(FileKind::File) | None => {}
    }
    match source_status(path) {
        Ok(status) => match status.kind {
            FileKind::File => Some(FoundKind::File(status)),
            FileKind::Symlink => Some(link(path)),
            FileKind::Directory => None,
            FileKind::Other => Some(FoundKind::Special),
        },
        Err(error) => Some(FoundKind::Failed(error)),
    }
}

fn link(path: &[u8]) -> FoundKind {
    source_target(path).map_or_else(FoundKind::Failed, FoundKind::Link)
}
