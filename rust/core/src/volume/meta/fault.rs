//! The classification of SQLite's failures: a damaged file, or a refusal of the operating system.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::error::Error;
use crate::sys::sqlite;
use crate::waiting;

/// The cause of a failed call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file does not have the content that was written; a description of the damage.
    Damage(String),
    /// The operating system refused, with this number.
    Refused(i32),
}

/// Classify an error. Call this right after the failed call: the system's error number is the last one of this thread.
pub(super) fn classify(error: &rusqlite::Error) -> Fault {
    let rusqlite::Error::SqliteFailure(cause, message) = error else {
        // Only conversions and missing rows remain: the statements and parameters are fixed and tested.
        return Fault::Damage(error.to_string());
    };
    Fault::Refused(match cause.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            sqlite::lock_failure().unwrap_or(libc::EBUSY)
        }
        ErrorCode::DiskFull => sqlite::failure().unwrap_or(libc::ENOSPC),
        ErrorCode::ReadOnly => libc::EROFS,
        ErrorCode::NoLargeFileSupport => libc::EFBIG,
        ErrorCode::OutOfMemory => libc::ENOMEM,
        ErrorCode::PermissionDenied => libc::EACCES,
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => sqlite::failure().unwrap_or(libc::EIO),
        _ => return Fault::Damage(message.clone().unwrap_or_else(|| error.to_string())),
    })
}

/// Return the error for a refusal.
pub(super) fn refused(errno: i32, path: &Path, operation: &'static str) -> Error {
    if errno == libc::EBUSY && waiting::is_cancelled() {
        return Error::Cancelled;
    }
    Error::Io { errno, path: Some(path.to_owned()), operation }
}

/// Whether another process has the file locked at the moment.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(cause, _) = error else {
        return false;
    };
    // `FileLockingProtocolFailed`: SQLite has found the log locked too often. A file system that refuses locks is never free.
    matches!(cause.code, ErrorCode::DatabaseBusy | ErrorCode::FileLockingProtocolFailed)
        && sqlite::lock_failure().is_none()
}

/// Whether a reader, which changes nothing, found the log's index unfinished: another process is just making or removing it.
pub(super) fn is_unfinished(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(cause, _) if cause.code == ErrorCode::ReadOnly)
}

/// Return the error for a failure of a file under construction.
pub(super) fn of_new(path: &Path, error: &rusqlite::Error) -> Error {
    match classify(error) {
        Fault::Damage(reason) => damaged(path, &reason),
        Fault::Refused(errno) => refused(errno, path, "make metadata"),
    }
}

/// Return the error for a write to a damaged file.
pub(super) fn damaged(path: &Path, reason: &str) -> Error {
    Error::DataCorrupt {
        name: path.display().to_string(),
        expected: "the store's labels, times and image names (`steelyard doctor --rebuild` keeps what can be read)"
            .to_owned(),
        actual: reason.to_owned(),
    }
}

/// The readable note about a damaged file.
pub(super) fn damage_note(path: &Path, reason: &str) -> String {
    format!(
        "{}: {reason}: labels and image names cannot be read and are not shown, and none can be set; all blobs are \
         still there and readable; `steelyard doctor --rebuild` rebuilds the file and keeps the readable part of it",
        path.display()
    )
}

/// The readable note about a missing file.
pub(super) fn missing_note(path: &Path) -> String {
    format!(
        "{}: was missing and has been rebuilt: all labels and image names set before, and when blobs were last \
         verified, are lost; all blobs are still there",
        path.display()
    )
}
