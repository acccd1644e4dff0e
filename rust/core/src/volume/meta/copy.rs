//! A copy of a damaged file, for reading: the file itself is kept unchanged for inspection.

use std::os::fd::{AsFd, BorrowedFd};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::connect;
use super::fault::{self, Fault};
use super::place::Place;
use super::schema::{self, Found};
use super::wal;
use crate::error::{At, Error, Result};
use crate::format::names::{META, META_WAL, PRIVATE_MODE, WAL_SUFFIX, beside};
use crate::sys::{FileKind, read_full_at, write_all_at};

/// The page size: SQLite's default, which the store uses.
const PAGE: usize = 4096;

/// Copy the file, and its log if that is valid, to another name. Returns false if there is neither.
///
/// No connection of this process has the file open now, so opening it here releases no locks.
pub(super) fn make(place: Place<'_>, copy: &str) -> Result<bool> {
    let is_file = |name| Ok(place.stat(name)?.is_some_and(|stat| stat.kind == FileKind::File));
    let main = is_file(META)?;
    let log = is_file(META_WAL)? && wal::is_log(place)? == Some(true);
    copy_file(place, main.then_some(META), copy)?;
    if log {
        copy_file(place, Some(META_WAL), &beside(copy, WAL_SUFFIX))?;
    }
    Ok(main || log)
}

/// Copy a file, or make an empty one.
fn copy_file(place: Place<'_>, source: Option<&str>, target: &str) -> Result<()> {
    let Place { sys, dir, path } = place;
    let target = sys.create(dir, target, PRIVATE_MODE).at("create metadata", || path)?;
    let Some(source) = source else { return Ok(()) };
    let source = sys.open(dir, source, false).at("open metadata", || path)?;
    let size = sys.stat(source.as_fd()).at("stat metadata", || path)?.size;
    let mut page = vec![0; PAGE];
    let mut offset = 0;
    while offset < size {
        // The copy goes page by page, so that an unreadable page does not affect the others.
        let read = read_page(place, source.as_fd(), &mut page, offset)?;
        write_all_at(sys, target.as_fd(), &page[..read], offset).at("write metadata", || path)?;
        offset += read as u64;
    }
    Ok(())
}

/// Read a page. A lost page is returned as zeros, which also count as damage.
fn read_page(place: Place<'_>, source: BorrowedFd<'_>, page: &mut [u8], offset: u64) -> Result<usize> {
    match read_full_at(place.sys, source, page, offset) {
        Ok(read) if read > 0 => Ok(read),
        Err(error) if error.raw_os_error() != Some(libc::EIO) => Err(error).at("read metadata", || place.path),
        _ => {
            page.fill(0);
            Ok(page.len())
        }
    }
}

/// Open the copy. If its first page is lost, it is replaced by the first page of a new file, which differs only in its counters: all
/// files of a store have their tables at the same pages, except for those that a migration has added. `None` if that does not help.
pub(super) fn open(place: Place<'_>, copy: &str) -> Result<Option<Connection>> {
    let stat = place.sys.stat_at(place.dir, copy).at("stat metadata", || place.path)?;
    // SQLite removes the log of an empty file, so an empty file gets its first page before it is opened.
    if stat.size > 0
        && let Some(connection) = open_as_it_is(place, copy)?
    {
        return Ok(Some(connection));
    }
    transplant(place, copy)?;
    open_as_it_is(place, copy)
}

fn open_as_it_is(place: Place<'_>, copy: &str) -> Result<Option<Connection>> {
    let open = || {
        let connection = Connection::open(place.sqlite_path(copy))?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        Ok((schema::inspect(&connection)?, connection))
    };
    match open() {
        Ok((Found::Ours | Found::Older(_), connection)) => Ok(Some(connection)),
        Ok(_) => Ok(None),
        Err(error) => damage_only(place, &error).map(|()| None),
    }
}

/// Ignore damage, which is expected here, and return any other error: without space on the disk, for example, nothing could be read,
/// and all data would seem lost.
pub(super) fn damage_only(place: Place<'_>, error: &rusqlite::Error) -> std::result::Result<(), Error> {
    match fault::classify(error) {
        Fault::Damage(_) => Ok(()),
        Fault::Refused(errno) => Err(fault::refused(errno, place.path, "salvage metadata")),
    }
}

fn transplant(place: Place<'_>, copy: &str) -> Result<()> {
    let Place { sys, dir, path } = place;
    let donor = connect::fresh_name(place);
    let result = connect::build(place, &donor, |_| Ok(())).and_then(|()| {
        let from = sys.open(dir, &donor, false).at("open metadata", || path)?;
        let to = sys.open(dir, copy, true).at("open metadata", || path)?;
        let mut page = vec![0; PAGE];
        read_full_at(sys, from.as_fd(), &mut page, 0).at("read metadata", || path)?;
        // No free pages, and a size of 0: SQLite then uses the size of the file and its log.
        page[28..40].fill(0);
        write_all_at(sys, to.as_fd(), &page, 0).at("write metadata", || path)
    });
    connect::discard(place, &donor);
    result
}
