//! Reading the marker of a root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::error::{At, Error, Result};
use crate::format::marker::{FORMAT, LIMIT, TEXT, format_of};
use crate::format::names::MARKER;
use crate::sys::{FileKind, Sys, found, read_full_at};

/// Return whether the root has a marker; one of another format is refused.
pub(super) fn check(sys: &dyn Sys, root: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let file = path.join(MARKER);
    let Some(text) = read(sys, root).at("read", || &file)? else {
        return Ok(false);
    };
    match format_of(&text) {
        Some(FORMAT) => Ok(true),
        Some(other) => Err(Error::IncompatibleFormat {
            path: path.to_owned(),
            found: other.to_string(),
            supported: FORMAT.to_string(),
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
