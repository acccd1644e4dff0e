//! A missing, foreign or damaged `meta.db` never fails an open, and nothing is overwritten.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use steelyard_core::error::Error;
use steelyard_core::volume::meta::Meta;

use crate::support::{FRESH, READ, Scratch, WRITE, digest, labels, pairs, row};

/// Metadata of 2,000 labelled blobs, closed.
fn filled() -> Scratch {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    let rows: Vec<_> = (0..2_000).map(|number| row(number, &[])).collect();
    meta.remember(&rows);
    meta.put(&row(1, &[("a", "b")])).unwrap();
    scratch
}

/// Check what every damaged file gives: no labels, no error on reads, a clear one on writes, and the same bytes after.
fn assert_damaged(scratch: &Scratch) {
    let before = bytes(&scratch.join("meta.db"));
    for mode in [WRITE, READ] {
        let (meta, notes) = scratch.open(mode);

        assert_eq!(1, notes.len(), "{notes:?}");
        assert_eq!(meta.damage().as_ref(), notes.first());
        assert!(notes[0].contains("meta.db") && notes[0].contains("steelyard doctor --rebuild"), "{notes:?}");
        assert_reads_find_nothing(&meta);
        if mode.read_only {
            continue;
        }
        let error = meta.put(&row(1, &[])).unwrap_err();
        assert!(matches!(&error, Error::DataCorrupt { name, .. } if name.ends_with("meta.db")), "{error}");
        assert!(error.to_string().contains("steelyard doctor --rebuild"), "{error}");
        let error = meta.try_before_publish(&[row(1, &[("a", "b")])]).unwrap_err();
        assert!(matches!(error, Error::DataCorrupt { .. }), "{error}");
    }
    assert_eq!(before, bytes(&scratch.join("meta.db")));
}

fn assert_reads_find_nothing(meta: &Meta) {
    assert_eq!(None, meta.get(&digest(1)).unwrap());
    assert_eq!(vec![None, None], meta.get_many(&[digest(1), digest(2)]).unwrap());
    assert!(meta.range(&digest(0), &digest(9)).unwrap().is_empty());
    assert!(meta.labelled(&pairs(&[("a", "b")]), None, 9).unwrap().is_empty());
    assert!(meta.has_size(u64::MAX).unwrap());
    assert_eq!(None, meta.setting("x").unwrap());
    // What needs no labels goes on.
    assert_eq!(vec![false], meta.have_rows(&[digest(1)]).unwrap());
    meta.try_before_publish(&[]).unwrap();
    meta.try_forget(&[digest(1)]).unwrap();
    meta.remember(&[row(5, &[])]);
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}

#[test]
fn a_missing_file_of_an_old_store_is_rebuilt_with_a_note() {
    let scratch = Scratch::new();

    let (meta, notes) = scratch.open(WRITE);

    assert_eq!(1, notes.len());
    assert!(notes[0].contains("lost"), "{notes:?}");
    assert_eq!(None, meta.damage());
    meta.put(&row(1, &[("a", "b")])).unwrap();
}

#[test]
fn a_file_cut_to_any_page_is_damaged() {
    for size in [0, 1, 50, 100, 4096] {
        let scratch = filled();
        fs::File::options().write(true).open(scratch.join("meta.db")).unwrap().set_len(size).unwrap();

        assert_damaged(&scratch);
    }
}

#[test]
fn garbage_at_the_beginning_is_damage() {
    let scratch = filled();
    fs::File::options().write(true).open(scratch.join("meta.db")).unwrap().write_all_at(&[0xa5; 200], 0).unwrap();

    assert_damaged(&scratch);
}

#[test]
fn a_foreign_database_or_directory_or_link_is_not_used() {
    let scratch = filled();
    fs::remove_file(scratch.join("meta.db")).unwrap();
    let foreign = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    foreign.execute_batch("CREATE TABLE notes (text)").unwrap();
    drop(foreign);
    assert_damaged(&scratch);

    fs::rename(scratch.join("meta.db"), scratch.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", scratch.join("meta.db")).unwrap();
    assert_damaged(&scratch);

    fs::remove_file(scratch.join("meta.db")).unwrap();
    fs::create_dir(scratch.join("meta.db")).unwrap();
    assert_damaged(&scratch);
}

#[test]
fn garbage_in_the_middle_is_found_by_the_first_read_that_meets_it() {
    let scratch = filled();
    let file = fs::File::options().write(true).open(scratch.join("meta.db")).unwrap();
    let size = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xa5; usize::try_from(size).unwrap() - 8 * 4096], 8 * 4096).unwrap();
    let (meta, notes) = scratch.open(WRITE);
    assert_eq!(Vec::<String>::new(), notes, "opening reads a few pages only");

    let rows = meta.range(&digest(0), &digest(5_000)).unwrap();

    assert!(rows.is_empty());
    assert!(meta.damage().unwrap().contains("steelyard doctor --rebuild"));
    assert_reads_find_nothing(&meta);
    assert!(matches!(meta.put(&row(1, &[])), Err(Error::DataCorrupt { .. })));
}

#[test]
fn labels_that_are_not_ours_are_damage() {
    let scratch = filled();
    let (meta, _) = scratch.open(WRITE);
    drop(meta);
    let connection = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    connection.execute("UPDATE blobs SET labels = '[1]' WHERE labels IS NOT NULL", []).unwrap();
    drop(connection);

    let (meta, _) = scratch.open(WRITE);

    assert_eq!(None, meta.get(&digest(1)).unwrap());
    assert!(meta.damage().is_some());
}

#[test]
fn a_log_of_garbage_is_damage_and_stays() {
    let scratch = filled();
    fs::write(scratch.join("meta.db-wal"), vec![0xa5; 9_000]).unwrap();

    assert_damaged(&scratch);

    assert_eq!(Some(vec![0xa5; 9_000]), bytes(&scratch.join("meta.db-wal")));
}

#[test]
fn a_log_without_its_file_is_damage_and_stays() {
    let scratch = Scratch::new();
    fs::write(scratch.join("meta.db-wal"), vec![0xa5; 9_000]).unwrap();

    assert_damaged(&scratch);

    assert_eq!(vec!["meta.db-wal"], scratch.names(""));
}

#[test]
fn the_log_of_a_killed_process_counts() {
    let scratch = filled();
    let (meta, _) = scratch.open(WRITE);
    meta.put(&row(1, &[("late", "yes")])).unwrap();
    // A copy of a store in use is what a kill leaves.
    let copy = Scratch::new();
    for name in ["meta.db", "meta.db-wal", "meta.db-shm"] {
        fs::copy(scratch.join(name), copy.join(name)).unwrap();
    }

    let (after, notes) = copy.open(WRITE);

    assert_eq!(Vec::<String>::new(), notes);
    assert_eq!(labels(&[("late", "yes")]), after.get(&digest(1)).unwrap().unwrap().labels);
}

#[test]
fn a_file_removed_under_an_open_store_takes_no_more_labels() {
    let scratch = filled();
    let (meta, _) = scratch.open(WRITE);
    fs::remove_file(scratch.join("meta.db")).unwrap();

    let error = meta.put(&row(1, &[("a", "b")])).unwrap_err();

    assert!(matches!(error, Error::DataCorrupt { .. }), "{error}");
    assert!(!scratch.join("meta.db").exists());
}

#[test]
fn a_newer_file_is_refused_and_stays() {
    let scratch = filled();
    let connection = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    connection.pragma_update(None, "user_version", 3).unwrap();
    drop(connection);
    let before = bytes(&scratch.join("meta.db"));

    for mode in [WRITE, READ] {
        let error = scratch.try_open(mode).err().unwrap();
        assert!(
            matches!(&error, Error::IncompatibleFormat { found, supported, .. } if found == "3" && supported == "2"),
            "{error}"
        );
    }
    assert_eq!(before, bytes(&scratch.join("meta.db")));
}
