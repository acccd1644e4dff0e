//! The bytes of a batch's items.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::error::{At, Result};
use crate::sys::{FileKind, Sys, read_full_at};

/// The number of bytes by which the buffer grows for a file that is longer than its size was.
const STEP: usize = 64 * 1024;

/// The place of a blob's bytes.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// In a file, which is held in memory until it is stored.
    File {
        /// Its path.
        path: PathBuf,
        /// The most bytes it may have to be stored in a batch.
        limit: u64,
    },
}

/// An item whose bytes are in memory.
pub(super) struct Loaded<'a> {
    /// Its index in the batch.
    pub index: usize,
    /// The bytes.
    pub data: Cow<'a, [u8]>,
}

/// Return the bytes of a source; `None` if it is a file above its limit, or not a regular file.
pub(super) fn bytes<'a>(sys: &dyn Sys, source: &'a Source<'_>) -> Result<Option<Cow<'a, [u8]>>> {
    let (path, limit) = match source {
        Source::Bytes(bytes) => return Ok(Some(Cow::Borrowed(bytes))),
        Source::File { path, limit } => (path, *limit),
    };
    let file = match sys.open_source(path) {
        Err(error) if error.raw_os_error() == Some(libc::ESPIPE) => return Ok(None),
        opened => opened.at("open", || path)?,
    };
    let stat = sys.stat(file.as_fd()).at("stat", || path)?;
    if stat.kind != FileKind::File || stat.size > limit {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    // One byte more than the size of the file, so that a single read finds the end.
    let mut step = usize::try_from(stat.size).unwrap_or(usize::MAX).saturating_add(1);
    loop {
        let done = bytes.len();
        bytes.resize(done + step, 0);
        let read = read_full_at(sys, file.as_fd(), &mut bytes[done..], done as u64).at("read", || path)?;
        bytes.truncate(done + read);
        if bytes.len() as u64 > limit {
            return Ok(None);
        }
        if read < step {
            return Ok(Some(Cow::Owned(bytes)));
        }
        step = STEP;
    }
}
