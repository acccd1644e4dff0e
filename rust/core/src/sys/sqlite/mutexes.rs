//! SQLite's mutexes and its error log, which are set before SQLite is used.
//!
//! Each mutex is held within a step that no fork divides, because SQLite's static mutexes belong to the whole process.
#![allow(unsafe_code, reason = "SQLite takes its mutexes as pointers to functions")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi::{self, sqlite3_mutex, sqlite3_mutex_methods};

use super::super::{begin, end};

/// SQLite's own mutexes.
static OWN: OnceLock<sqlite3_mutex_methods> = OnceLock::new();

/// Called by SQLite with each message of its log: an unused pointer, the kind of error, and the text.
pub(super) type Note = unsafe extern "C" fn(*mut c_void, c_int, *const c_char);

/// Make SQLite use the mutexes of this module and log to `note`. Call this before anything else of SQLite is used.
pub(super) fn watch(note: Note) {
    let unknown = || sqlite3_mutex_methods {
        xMutexInit: None,
        xMutexEnd: None,
        xMutexAlloc: None,
        xMutexFree: None,
        xMutexEnter: None,
        xMutexTry: None,
        xMutexLeave: None,
        xMutexHeld: None,
        xMutexNotheld: None,
    };
    let mut own = unknown();
    // SAFETY: nothing of SQLite is in use yet. SQLite knows its own mutexes once it has been initialised, and accepts others while it is
    // shut down. It copies the structures behind the pointers.
    let results = unsafe {
        [
            ffi::sqlite3_initialize(),
            ffi::sqlite3_shutdown(),
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_GETMUTEX, &raw mut own),
        ]
    };
    assert_eq!(results, [ffi::SQLITE_OK; 3], "SQLite gives its mutexes");
    let ours =
        sqlite3_mutex_methods { xMutexEnter: Some(enter), xMutexTry: Some(try_enter), xMutexLeave: Some(leave), ..own };
    OWN.set(own).unwrap_or_else(|_| unreachable!("this is called once"));
    // SAFETY: as above.
    let results = unsafe {
        [
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MUTEX, &raw const ours),
            // Memory statistics are not used, and would lock a mutex for every allocation.
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int),
            ffi::sqlite3_config(ffi::SQLITE_CONFIG_LOG, note, ptr::null_mut::<c_void>()),
            ffi::sqlite3_initialize(),
        ]
    };
    assert_eq!(results, [ffi::SQLITE_OK; 4], "SQLite takes other mutexes, and a log");
}

fn own() -> &'static sqlite3_mutex_methods {
    OWN.get().unwrap_or_else(|| unreachable!("it is known before SQLite calls the functions below"))
}

// SAFETY: called by SQLite only, with a mutex that it has made.
unsafe extern "C" fn enter(mutex: *mut sqlite3_mutex) {
    begin();
    if let Some(enter) = own().xMutexEnter {
        // SAFETY: as this function's.
        unsafe { enter(mutex) };
    }
}

// SAFETY: called by SQLite only, with a mutex that it has made.
unsafe extern "C" fn try_enter(mutex: *mut sqlite3_mutex) -> c_int {
    begin();
    // SAFETY: as this function's.
    let result = own().xMutexTry.map_or(ffi::SQLITE_BUSY, |try_enter| unsafe { try_enter(mutex) });
    if result != ffi::SQLITE_OK {
        end();
    }
    result
}

// SAFETY: called by SQLite only, with a mutex that this thread has entered.
unsafe extern "C" fn leave(mutex: *mut sqlite3_mutex) {
    if let Some(leave) = own().xMutexLeave {
        // SAFETY: as this function's.
        unsafe { leave(mutex) };
    }
    end();
}
