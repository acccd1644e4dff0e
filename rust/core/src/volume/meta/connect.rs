//! Opening `meta.db`: for writing, for reading only, or finding it missing or damaged.
//!
//! Only SQLite opens the file: closing any other descriptor of it would release the locks that SQLite holds on it in this
//! process (POSIX locks belong to the process, not to the descriptor).

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::{self, Fault};
use super::place::Place;
use super::schema::{self, Found};
use super::wal;
use crate::error::{At, Error, Result};
use crate::format::metadata::VERSION;
use crate::format::names::{
    JOURNAL_SUFFIX, META, META_WAL, PRIVATE_MODE, SHM_SUFFIX, WAL_SUFFIX, beside, new_meta_name,
};
use crate::sys::{FileKind, sqlite};
use crate::waiting::{self, Patience};

/// The longest pause between two attempts to open a file that another process has locked for a moment.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The state of the file at its path.
pub(super) enum Opened<T> {
    /// A good file.
    Good(T),
    /// No file.
    Missing,
    /// Something other than a good file; a description of it.
    Damaged(String),
}

/// Refuse files that SQLite would silently take for an empty database or log.
fn inspect(place: Place<'_>) -> Result<Opened<()>> {
    let log = place.stat(META_WAL)?.is_some_and(|stat| stat.size > 0);
    let Some(stat) = place.stat(META)? else {
        return Ok(if log {
            Opened::Damaged("is missing, but its log (-wal) is there".to_owned())
        } else {
            Opened::Missing
        });
    };
    Ok(match stat.kind {
        FileKind::File if stat.size == 0 => Opened::Damaged("is empty".to_owned()),
        FileKind::File if log && wal::is_log(place)? == Some(false) => {
            Opened::Damaged("its log (-wal) holds something else".to_owned())
        }
        FileKind::File => Opened::Good(()),
        other => Opened::Damaged(format!("is not a file but a {other:?}").to_lowercase()),
    })
}

/// Opens another connection to an existing file.
type Open = fn(Place<'_>) -> rusqlite::Result<Connection>;

/// Open the file for reading and writing; migrate an older one.
pub(super) fn writable(place: Place<'_>) -> Result<Opened<Connection>> {
    open_with(place, |place| {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(place.sqlite_path(META), flags)?;
        prepare(&connection)?;
        if let Found::Older(_) = schema::inspect(&connection)? {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have migrated the file already.
            if let Found::Older(version) = schema::inspect(&transaction)? {
                schema::migrate(&transaction, version)?;
            }
            transaction.commit()?;
        }
        Ok(connection)
    })
}

/// Open the file for reading, without creating, changing or locking any file.
///
/// Without a log the file is complete, and SQLite may read it as immutable; the caller compares its [`Print`] before each use. With
/// a log, SQLite reads it through the index that its writer has made, or through a private index if there is none (a copy, a root
/// after a power cut, a disk too full for an index).
pub(super) fn readable(place: Place<'_>) -> Result<Opened<Connection>> {
    let opened = Patience::briefly(|| match try_readable(place) {
        // The connection does not write, so this means that another process is just making or removing the log or its index.
        Err(Error::Io { errno: libc::EROFS, .. }) => Ok(None),
        opened => opened.map(Some),
    })?;
    opened.map_or_else(|| try_readable(place), Ok)
}

fn try_readable(place: Place<'_>) -> Result<Opened<Connection>> {
    if place.print()?.has_log() {
        return sqlite::with_private_index(|| {
            open_with(place, |place| uri(&place.sqlite_path(META), "mode=ro&readonly_shm=1"))
        });
    }
    open_with(place, |place| uri(&place.sqlite_path(META), "mode=ro&immutable=1"))
}

fn open_with(place: Place<'_>, open: Open) -> Result<Opened<Connection>> {
    sqlite::forget_failure();
    match inspect(place)? {
        Opened::Good(()) => {}
        Opened::Missing => return Ok(Opened::Missing),
        Opened::Damaged(reason) => return Ok(Opened::Damaged(reason)),
    }
    let found = open(place).and_then(|connection| Ok((schema::inspect(&connection)?, connection)));
    match found {
        // A writer brings an older file up to date; a reader can use it as it is.
        Ok((Found::Ours | Found::Older(_), connection)) => Ok(Opened::Good(connection)),
        Ok((Found::Newer(version), _)) => Err(Error::IncompatibleFormat {
            path: place.path.to_owned(),
            found: version.to_string(),
            supported: VERSION.to_string(),
        }),
        Ok((Found::Foreign(what), _)) => Ok(Opened::Damaged(format!("is {what}"))),
        Err(error) => match fault::classify(&error) {
            Fault::Damage(reason) => Ok(Opened::Damaged(format!("is damaged ({reason})"))),
            Fault::Refused(errno) => Err(fault::refused(errno, place.path, "open metadata")),
        },
    }
}

fn uri(path: &Path, query: &str) -> rusqlite::Result<Connection> {
    use std::fmt::Write;

    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            // Writing to a string cannot fail.
            _ => write!(uri, "%{byte:02x}").unwrap_or_default(),
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("{uri}?{query}"), flags)?;
    prepare(&connection)?;
    Ok(connection)
}

/// Wait for another process that recovers the log or migrates the file. Returns false if the caller was cancelled, or if there are
/// no locks.
fn wait_to_open(tries: i32) -> bool {
    if waiting::is_cancelled() || sqlite::lock_failure().is_some() {
        return false;
    }
    let pause = Duration::from_millis(1 << tries.clamp(0, 5)).min(LONGEST_PAUSE);
    waiting::away(|| thread::sleep(pause));
    true
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(wait_to_open))?;
    // A damaged schema must not run anything.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // After an import of many labels, free the space of the log.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Make a complete new file, and then give it its name. Returns false if another process was faster.
///
/// If the store is not `fresh`, image names may have been lost with an earlier file, or those of adopted blobs are in another place.
/// This is recorded for collections.
pub(super) fn create(place: Place<'_>, fresh: bool) -> Result<bool> {
    let temporary = fresh_name(place);
    let made = build(place, &temporary, |new| {
        if fresh { Ok(()) } else { schema::lose_roots(new).map_err(|error| fault::of_new(place.path, &error)) }
    });
    // DURABILITY: a link, not a rename, so that it never replaces a file that another process has made and filled. A power cut before
    // the directory is synced leaves no file, and the next open makes it again.
    let linked = made.and_then(|()| match place.sys.link(place.dir, &temporary, place.dir, META) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io(&error, place.path, "link metadata")),
    });
    discard(place, &temporary);
    if linked? {
        place.sys.sync_dir(place.dir).at("sync directory", || place.path)?;
        return Ok(true);
    }
    Ok(false)
}

/// Return a name for a file under construction. After a crash, a small file remains, which the next rebuild removes.
pub(super) fn fresh_name(place: Place<'_>) -> String {
    new_meta_name(std::process::id(), place.sys.now_ns())
}

/// Make a complete database under another name, fill it, and make it durable.
pub(super) fn build(place: Place<'_>, name: &str, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
    let (path, sqlite_path) = (place.path.with_file_name(name), place.sqlite_path(name));
    // The file is made before SQLite opens it, to set its mode: the log and its index then get the same mode.
    drop(place.sys.create(place.dir, name, PRIVATE_MODE).at("create metadata", || &path)?);
    let refused = |error: rusqlite::Error| fault::of_new(&path, &error);
    sqlite::forget_failure();
    let mut connection = Connection::open(sqlite_path).map_err(refused)?;
    // Nothing has to survive before the sync below, and a rollback journal leaves no log behind.
    connection.pragma_update(None, "synchronous", "OFF").map_err(refused)?;
    let transaction = connection.transaction().map_err(refused)?;
    schema::create(&transaction).map_err(refused)?;
    fill(&transaction)?;
    transaction.commit().map_err(refused)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(refused)?;
    connection.close().map_err(|(_, error)| refused(error))?;
    let whole = place.sys.open(place.dir, name, true).at("open metadata", || &path)?;
    // DURABILITY: the file is synced before it gets its name; a power cut here leaves a file whose name is never read.
    place.sys.sync_data(whole.as_fd()).at("sync metadata", || &path)
}

/// Remove a file under construction and the files that SQLite has created beside it, if they exist.
pub(super) fn discard(place: Place<'_>, name: &str) {
    for suffix in ["", JOURNAL_SUFFIX, WAL_SUFFIX, SHM_SUFFIX] {
        place.sys.unlink(place.dir, &beside(name, suffix)).ok();
    }
}
