//! The format marker `steelyard.json`: a root with a marker is complete, and of the format that it names.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::{Root, found};
use crate::error::{At, Error, Result};
use crate::sys::{FileKind, Sys, read_full_at, write_all_at};
use crate::temp::Temp;

const NAME: &str = "steelyard.json";
const MODE: u32 = 0o600;
const FORMAT: u64 = 1;
const TEXT: &str = "{\"format\": 1}\n";

/// More than any marker needs.
const LIMIT: usize = 4096;

/// Return whether the root has a marker; one of another format is refused.
pub(super) fn check(sys: &dyn Sys, root: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let file = path.join(NAME);
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
    let Some(file) = found(sys.open(root, NAME, false))? else {
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
    let path = root.path().join(NAME);
    let temp = Temp::create(root, root.dir(), MODE)?;
    // Whatever the umask has left of it.
    sys.set_mode(temp.fd(), MODE).at("chmod", || &path)?;
    write_all_at(sys, temp.fd(), TEXT.as_bytes(), 0).at("write", || &path)?;
    // DURABILITY: before it has its name; a power cut leaves no marker, or a whole one.
    sys.sync_data(temp.fd()).at("fdatasync", || &path)?;
    match temp.staged().place(sys, root.dir(), NAME) {
        // Another process adopted the root at the same time, in the same words.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.at("link", || &path)?,
    }
    // DURABILITY: that the file has a link now, which not every file system writes with the directory.
    sys.sync_file(temp.fd()).at("fsync", || &path)
}

/// Find the number of `"format"`; other keys are for later formats to use.
fn format_of(text: &str) -> Option<u64> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (_, after) = inside.split_once("\"format\"")?;
    let value = after.trim_start().strip_prefix(':')?.trim_start();
    let end = value.find(|character: char| !character.is_ascii_digit()).unwrap_or(value.len());
    value[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_found_whatever_else_is_there() {
        assert_eq!(format_of(TEXT), Some(FORMAT));
        assert_eq!(format_of("{\"x\": [1], \"format\" : 23, \"y\": {}}"), Some(23));
    }

    #[test]
    fn a_damaged_marker_has_no_format() {
        for text in ["", "{", "{}", "null", "{\"format\": \"1\"}", "{\"format\": 1", "\0\0\0"] {
            assert_eq!(format_of(text), None, "{text:?}");
        }
    }
}
