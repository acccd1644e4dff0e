//! Reading what is left of a damaged file, from a copy: the file itself is evidence and stays as it is.

use std::collections::HashMap;
use std::os::fd::AsFd;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

use super::connect::{self, NAME, Place, WAL};
use super::rows::{self, COLUMNS, Row};
use super::schema::{self, Found};
use super::wal;
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Result};
use crate::model::Labels;
use crate::sys::{FileKind, read_full_at, write_all_at};

/// SQLite's default, and ours.
const PAGE: usize = 4096;
const PIECE: usize = 1 << 20;

/// What was found.
#[derive(Default)]
pub(super) struct Salvaged {
    /// Whether anything of the file could be opened.
    pub opened: bool,
    /// Parts of the file, and single rows, that could not be read.
    pub gaps: u64,
    /// Labels that only the index still has, of blobs whose row could not be read.
    pub orphans: HashMap<Digest, Labels>,
}

/// Copy the rows and settings of the old file, as far as they can be read, into the new database.
pub(super) fn salvage(place: Place<'_>, new: &Connection) -> Result<Salvaged> {
    let copy = connect::fresh_name(place);
    let salvaged = copy_file(place, &copy).map(|copied| {
        let old = copied.then(|| open_copy(place, &copy)).flatten();
        old.map(|old| read_all(&old, new)).unwrap_or_default()
    });
    connect::discard(place, &copy);
    salvaged
}

/// Copy the file, and its log if that is one; false if there is neither.
///
/// No connection of this process has the file open now, so that opening it here drops no locks.
fn copy_file(place: Place<'_>, copy: &str) -> Result<bool> {
    let is_file = |name| matches!(place.sys.stat_at(place.dir, name), Ok(stat) if stat.kind == FileKind::File);
    let log = is_file(WAL) && wal::is_log(&place)?;
    let main = is_file(NAME);
    let target = place.sys.create(place.dir, copy, 0o600).at("create metadata", || place.path)?;
    if main {
        copy_bytes(place, NAME, target.as_fd())?;
    }
    if log {
        let name = format!("{copy}-wal");
        let target = place.sys.create(place.dir, &name, 0o600).at("create metadata", || place.path)?;
        copy_bytes(place, WAL, target.as_fd())?;
    }
    Ok(main || log)
}

fn copy_bytes(place: Place<'_>, name: &str, target: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    let source = place.sys.open(place.dir, name, false).at("open metadata", || place.path)?;
    let size = place.sys.stat(source.as_fd()).at("stat metadata", || place.path)?.size;
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    while offset < size {
        let piece = usize::try_from(size - offset).unwrap_or(PIECE).min(PIECE);
        let mut read = read_full_at(place.sys, source.as_fd(), &mut buffer[..piece], offset).unwrap_or_default();
        if read == 0 {
            // The disk cannot read it: what stands there instead is damage, too, and the rest may be good.
            buffer[..piece].fill(0);
            read = piece;
        }
        write_all_at(place.sys, target, &buffer[..read], offset).at("write metadata", || place.path)?;
        offset += read as u64;
    }
    Ok(())
}

/// Open the copy; if its first page is lost, with the first page of a new file, which is the same but for its counters:
/// all our files have their tables at the same pages.
fn open_copy(place: Place<'_>, copy: &str) -> Option<Connection> {
    let path = place.path.with_file_name(copy);
    let open = || {
        let connection = Connection::open(&path).ok()?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).ok()?;
        matches!(schema::look(&connection), Ok(Found::Ours)).then_some(connection)
    };
    // SQLite removes the log of an empty file, so that one gets its first page before it is opened.
    let empty = place.sys.stat_at(place.dir, copy).is_ok_and(|stat| stat.size == 0);
    (!empty).then(open).flatten().or_else(|| {
        transplant(place, copy).ok()?;
        open()
    })
}

fn transplant(place: Place<'_>, copy: &str) -> Result<()> {
    let donor = connect::fresh_name(place);
    let result = connect::build(place, &donor, |_| Ok(())).and_then(|()| {
        let path = || place.path;
        let from = place.sys.open(place.dir, &donor, false).at("open metadata", path)?;
        let to = place.sys.open(place.dir, copy, true).at("open metadata", path)?;
        let mut page = vec![0; PAGE];
        read_full_at(place.sys, from.as_fd(), &mut page, 0).at("read metadata", path)?;
        // No free pages, and a size of 0: SQLite then takes that of the file and its log.
        page[28..40].fill(0);
        write_all_at(place.sys, to.as_fd(), &page, 0).at("write metadata", path)
    });
    connect::discard(place, &donor);
    result
}

fn read_all(old: &Connection, new: &Connection) -> Salvaged {
    let mut salvaged = Salvaged { opened: true, ..Salvaged::default() };
    for algorithm in Algorithm::ALL {
        // Part by part, each from both ends: a damaged page then costs the rows on it and few others.
        for first in 0..=u8::MAX {
            let from = format!("{algorithm}:{first:02x}");
            let to = format!("{from}~");
            if !read_part(old, new, &mut salvaged, (&from, &to), "ASC") {
                salvaged.gaps += 1;
                read_part(old, new, &mut salvaged, (&from, &to), "DESC");
            }
        }
    }
    if salvaged.gaps > 0 {
        for order in ["ASC", "DESC"] {
            read_orphans(old, new, &mut salvaged, order).ok();
        }
    }
    copy_settings(old, new).ok();
    salvaged
}

/// Copy the rows of one part until its end or the first damaged page; whether the end was reached.
fn read_part(
    old: &Connection,
    new: &Connection,
    salvaged: &mut Salvaged,
    (from, to): (&str, &str),
    order: &str,
) -> bool {
    let sql = format!("SELECT {COLUMNS} FROM blobs WHERE digest >= ?1 AND digest < ?2 ORDER BY digest {order}");
    let Ok(mut statement) = old.prepare_cached(&sql) else {
        return false;
    };
    let Ok(mut found) = statement.query(params![from, to]) else {
        return false;
    };
    loop {
        match found.next() {
            Ok(None) => return true,
            Err(_) => return false,
            Ok(Some(row)) => {
                // From the other end some rows come again.
                let row = rows::read(row);
                let known = |row: &Row| matches!(rows::get(new, &row.digest), Ok(Some(_)));
                match row {
                    Ok(row) if known(&row) => {}
                    Ok(row) if rows::put(new, &row).is_ok() => {}
                    _ => salvaged.gaps += 1,
                }
            }
        }
    }
}

/// Take labels from the index, of blobs whose row was not read.
fn read_orphans(old: &Connection, new: &Connection, salvaged: &mut Salvaged, order: &str) -> rusqlite::Result<()> {
    let sql = format!("SELECT key, value, digest FROM labels ORDER BY key {order}, value {order}, digest {order}");
    let mut statement = old.prepare(&sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let Ok((key, value, digest)) = <(String, String, String)>::try_from(row) else {
            continue;
        };
        let Ok(digest) = Digest::parse(&digest) else {
            continue;
        };
        if rows::get(new, &digest)?.is_none() {
            salvaged.orphans.entry(digest).or_default().insert(key, value);
        }
    }
    Ok(())
}

fn copy_settings(old: &Connection, new: &Connection) -> rusqlite::Result<()> {
    let mut statement = old.prepare("SELECT name, value FROM settings")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let (name, value) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        new.execute("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)", [name, value])?;
    }
    Ok(())
}
