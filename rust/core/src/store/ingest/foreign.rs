//! containerd's ingests, read-only: `ref`, `data`, `total`, `startedat` and `updatedat` in a directory each.

use std::io;
use std::os::fd::AsFd;

use crate::format::containerd::{REF, STARTED_AT, TOTAL, UPDATED_AT};
use crate::format::names::DATA;
use crate::format::state::REF_LIMIT;
use crate::model::Status;
use crate::rfc3339;
use crate::sys::{Fd, FileKind, Sys, read_full_at};

/// The most bytes of a number or a time; longer text is invalid.
const SHORT: usize = 64;

/// The state of containerd's ingest in an open directory, or None if the ingest is not containerd's.
pub(super) fn status(sys: &dyn Sys, dir: &Fd) -> io::Result<Option<Status>> {
    let Some(ref_) = text(sys, dir, REF, REF_LIMIT)? else {
        return Ok(None);
    };
    let data = match sys.stat_at(dir.as_fd(), DATA) {
        Ok(stat) if stat.kind == FileKind::File => stat,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let total = text(sys, dir, TOTAL, SHORT)?.and_then(|text| text.trim().parse().ok());
    let parsed = |text: String| rfc3339::parse(text.trim()).and_then(|ns| i64::try_from(ns).ok());
    let time = |name| io::Result::Ok(text(sys, dir, name, SHORT)?.and_then(parsed));
    Ok(Some(Status {
        ref_,
        offset: data.size,
        // containerd writes no total, or 0, if the size is unknown.
        total: total.filter(|&total: &u64| total > 0),
        expected: None,
        started_ns: time(STARTED_AT)?.unwrap_or(data.mtime_ns),
        // containerd records the time only when an ingest is opened or closed. The file's own time says when bytes were written.
        updated_ns: time(UPDATED_AT)?.map_or(data.mtime_ns, |noted| noted.max(data.mtime_ns)),
    }))
}

/// The text of a small file; `None` if it is missing, too long or not text.
fn text(sys: &dyn Sys, dir: &Fd, name: &str, limit: usize) -> io::Result<Option<String>> {
    let file = match sys.open(dir.as_fd(), name, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let stat = sys.stat(file.as_fd())?;
    let size = usize::try_from(stat.size).unwrap_or(usize::MAX);
    if stat.kind != FileKind::File || size > limit {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    let read = read_full_at(sys, file.as_fd(), &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(String::from_utf8(bytes).ok())
}
