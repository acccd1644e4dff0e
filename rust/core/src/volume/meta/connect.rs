//! Opening `meta.db`: to write, to read only, or finding it missing or damaged.
//!
//! The file is never opened here but by SQLite: closing any descriptor of it would drop the locks that SQLite holds on it
//! in this process (POSIX locks belong to the process, not to the descriptor).

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
use crate::waiting;

/// The longest pause between two attempts to open a file that another process has locked for a moment.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The state of the file at its path.
pub(super) enum Opened<T> {
    /// A good file.
    Good(T),
    /// None.
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
        FileKind::File if log && !wal::is_log(place)? => {
            Opened::Damaged("its log (-wal) holds something else".to_owned())
        }
        FileKind::File => Opened::Good(()),
        other => Opened::Damaged(format!("is not a file but a {other:?}").to_lowercase()),
    })
}

/// Open one more connection to a file that is there.
type Open = fn(Place<'_>) -> rusqlite::Result<Connection>;

/// Open the file for reading and writing; migrate an older one.
pub(super) fn writable(place: Place<'_>) -> Result<Opened<Connection>> {
    open_with(place, |place| {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(place.sqlite_path(META), flags)?;
        prepare(&connection)?;
        if let Found::Older(_) = schema::inspect(&connection)? {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been faster.
            if let Found::Older(version) = schema::inspect(&transaction)? {
                schema::migrate(&transaction, version)?;
            }
            transaction.commit()?;
        }
        Ok(connection)
    })
}

/// Open the file for reading, and do not make, change or lock any file.
///
/// Without a log the file is whole, and SQLite may read it as if nothing could change; the caller compares its
/// [`Print`] before each use. With a log, SQLite reads it through the index that its writer made, or through one of its
/// own where there is none (a copy, a root that was cut off, a disk too full for an index).
pub(super) fn readable(place: Place<'_>) -> Result<Opened<Connection>> {
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

/// Wait for another process that recovers the log or brings the file up to date; false if the caller was cancelled, or
/// there are no locks.
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
    // After an import of many labels, give the log's space back.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Make a new file and give it its name at once, whole; false if another process was faster.
///
/// In a store that is not fresh, image names may have been lost with an earlier file, and those of adopted blobs are elsewhere: a
/// collection has to know.
pub(super) fn create(place: Place<'_>, fresh: bool) -> Result<bool> {
    let temporary = fresh_name(place);
    let made = build(place, &temporary, |new| {
        if fresh { Ok(()) } else { schema::lose_roots(new).map_err(|error| fault::of_new(place.path, &error)) }
    });
    // DURABILITY: link, not rename: never over a file that another process has made and filled. A power cut before the
    // directory is synced leaves no file, and the next open makes it again.
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

/// Return a name for a file under construction. After a crash a small file is left, and the next rebuild removes it.
pub(super) fn fresh_name(place: Place<'_>) -> String {
    new_meta_name(std::process::id(), place.sys.now_ns())
}

/// Make a whole database under another name, fill it, and make it durable.
pub(super) fn build(place: Place<'_>, name: &str, fill: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
    let (path, sqlite_path) = (place.path.with_file_name(name), place.sqlite_path(name));
    // Made before SQLite opens it, for its mode: the log and its index then get the same.
    drop(place.sys.create(place.dir, name, PRIVATE_MODE).at("create metadata", || &path)?);
    let refused = |error: rusqlite::Error| fault::of_new(&path, &error);
    sqlite::forget_failure();
    let mut connection = Connection::open(sqlite_path).map_err(refused)?;
    // Nothing has to survive before the one sync below, and a rollback journal leaves no log to mind.
    connection.pragma_update(None, "synchronous", "OFF").map_err(refused)?;
    let transaction = connection.transaction().map_err(refused)?;
    schema::create(&transaction).map_err(refused)?;
    fill(&transaction)?;
    transaction.commit().map_err(refused)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).map_err(refused)?;
    connection.close().map_err(|(_, error)| refused(error))?;
    let whole = place.sys.open(place.dir, name, true).at("open metadata", || &path)?;
    // DURABILITY: before the file gets its name; a power cut here leaves a file whose name is never read.
    place.sys.sync_data(whole.as_fd()).at("sync metadata", || &path)
}

/// Remove a file under construction and what SQLite put beside it, as far as they are there.
pub(super) fn discard(place: Place<'_>, name: &str) {
    for suffix in ["", JOURNAL_SUFFIX, WAL_SUFFIX, SHM_SUFFIX] {
        place.sys.unlink(place.dir, &beside(name, suffix)).ok();
    }
}
