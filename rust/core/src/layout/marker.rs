//! Reading and writing the marker.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::{Root, found};
use crate::error::{At, Error, Result};
use crate::format::marker::{FORMAT, LIMIT, TEXT, format_of};
use crate::format::names::{MARKER, PRIVATE_MODE};
use crate::sys::{FileKind, Sys, read_full_at, write_all_at};
use crate::temp::Temp;

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

/// Write the marker, whole or not at all; durable when the caller has synced the root.
pub(super) fn write(root: &Root) -> Result<()> {
    let sys = root.sys().as_ref();
    let path = root.path().join(MARKER);
    let temp = Temp::create(root, root.dir(), PRIVATE_MODE)?;
    // Whatever the umask has left of it.
    sys.set_mode(temp.fd(), PRIVATE_MODE).at("chmod", || &path)?;
    write_all_at(sys, temp.fd(), TEXT.as_bytes(), 0).at("write", || &path)?;
    // DURABILITY: before it has its name; a power cut leaves no marker, or a whole one.
    sys.sync_data(temp.fd()).at("fdatasync", || &path)?;
    match temp.staged().place(sys, root.dir(), MARKER) {
        // Another process adopted the root at the same time, in the same words.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.at("link", || &path)?,
    }
    // DURABILITY: that the file has a link now, which not every file system writes with the directory.
    sys.sync_file(temp.fd()).at("fsync", || &path)
}
