//! Reading the marker of a root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::error::{At, Error, Result};
use crate::format::marker::{COLLECTED, FORMAT, LIMIT, TEXT, format_of, id_of};
use crate::format::names::MARKER;
use crate::sys::{FileKind, Sys, found, read_full_at};

/// The marker of a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Its format.
    pub format: u64,
    /// The ID that it shares with `meta.db`, from the first collection on.
    pub id: Option<String>,
}

/// Return the marker of a root, if it has one. A marker of a newer format is refused.
pub(super) fn check(sys: &dyn Sys, root: BorrowedFd<'_>, path: &Path) -> Result<Option<Marker>> {
    let file = path.join(MARKER);
    let Some(text) = read(sys, root).at("read", || &file)? else {
        return Ok(None);
    };
    match format_of(&text) {
        Some(format @ (FORMAT | COLLECTED)) => Ok(Some(Marker { format, id: id_of(&text).map(str::to_owned) })),
        Some(other) => Err(Error::IncompatibleFormat {
            path: path.to_owned(),
            found: other.to_string(),
            supported: COLLECTED.to_string(),
        }),
        None => Err(Error::DataCorrupt {
            name: file.display().to_string(),
            expected: TEXT.trim_end().to_owned(),
            actual: format!("{:?}", text.chars().take(60).collect::<String>()),
        }),
    }
}

fn read(sys: &dyn Sys, root: BorrowedFd<'_>) -> io::Result<Option<String>> {
    let Some(file) = found(sys.open(root, MARKER, false))? else {
        return Ok(None);
    };
    if sys.stat(file.as_fd())?.kind != FileKind::File {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    let mut text = vec![0; LIMIT];
    let size = read_full_at(sys, file.as_fd(), &mut text, 0)?;
    Ok(Some(String::from_utf8_lossy(&text[..size]).into_owned()))
}
