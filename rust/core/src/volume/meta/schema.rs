//! The creation of the tables, their recognition, and the migration of older ones.

use rusqlite::Connection;

use super::query;
use crate::format::metadata::{
    APPLICATION_ID, COLLECTING, COUNT_TABLES, IMAGES, ROOTS_LOST, STORE_ID, TABLES, VERSION,
};

/// The kind of a file that SQLite can open.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A store's file of this version.
    Ours,
    /// A store's file of an older version. It must be migrated before a write; reading works without the newer tables.
    Older(i32),
    /// A store's file of a version that this release does not read.
    Newer(i32),
    /// Not a store's file, or one without its tables.
    Foreign(String),
}

/// Make the tables in an empty database.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.execute_batch(TABLES)?;
    connection.execute_batch(IMAGES)?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Record that image names, labels or leases may have been lost, and that no marker belongs to this file.
pub(super) fn lose_roots(connection: &Connection) -> rusqlite::Result<()> {
    query::set_setting(connection, STORE_ID, None)?;
    query::set_setting(connection, COLLECTING, None)?;
    query::set_setting(connection, ROOTS_LOST, Some("1"))
}

/// Return the kind of the file by its header and its tables; reads two or three pages.
pub(super) fn inspect(connection: &Connection) -> rusqlite::Result<Found> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application = number("application_id")?;
    let version = number("user_version")?;
    if application != APPLICATION_ID || version < 1 {
        return Ok(Found::Foreign("a database that is not Steelyard's".to_owned()));
    }
    if version > VERSION {
        return Ok(Found::Newer(version));
    }
    let tables: i32 = connection.query_row(COUNT_TABLES, [], |row| row.get(0))?;
    match (version, tables) {
        (VERSION, 5) => Ok(Found::Ours),
        (1, 4) => Ok(Found::Older(version)),
        _ => Ok(Found::Foreign("a database without some of its tables".to_owned())),
    }
}

/// Migrate an older file to [`VERSION`], in the caller's transaction. Each release that raises the version adds its step here.
pub(super) fn migrate(connection: &Connection, from: i32) -> rusqlite::Result<()> {
    debug_assert!(from < VERSION, "only older files are migrated");
    if from < 2 {
        connection.execute_batch(IMAGES)?;
    }
    connection.pragma_update(None, "user_version", VERSION)
}

/// Whether a SQLite of this version has the fix for a fault that can corrupt a WAL which is reset while another connection writes:
/// 3.51.3 and later, 3.50 from 3.50.7 on, and 3.44 from 3.44.6 on.
pub fn sqlite_is_fixed(version: i32) -> bool {
    version >= 3_051_003 || (3_050_007..3_051_000).contains(&version) || (3_044_006..3_045_000).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_sqlite_has_the_wal_reset_fix() {
        assert!(sqlite_is_fixed(rusqlite::version_number()), "{}", rusqlite::version());
    }

    #[test]
    fn releases_with_the_wal_reset_fault_are_known() {
        for bad in [3_040_001, 3_044_005, 3_045_000, 3_050_006, 3_051_002] {
            assert!(!sqlite_is_fixed(bad), "{bad}");
        }
        for good in [3_044_006, 3_050_007, 3_051_003, 3_053_002] {
            assert!(sqlite_is_fixed(good), "{good}");
        }
    }

    #[test]
    fn a_new_database_is_ours_and_a_newer_one_is_reported() {
        let connection = Connection::open_in_memory().unwrap();
        assert!(matches!(inspect(&connection).unwrap(), Found::Foreign(_)));

        create(&connection).unwrap();
        assert_eq!(inspect(&connection).unwrap(), Found::Ours);

        connection.pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert_eq!(inspect(&connection).unwrap(), Found::Newer(VERSION + 1));
    }

    #[test]
    fn a_database_without_its_tables_is_not_taken_for_ours() {
        let connection = Connection::open_in_memory().unwrap();
        create(&connection).unwrap();

        connection.execute_batch("DROP TABLE labels").unwrap();

        assert!(matches!(inspect(&connection).unwrap(), Found::Foreign(_)));
    }
}
