//! A rebuild keeps what can be read, tells what cannot, and destroys nothing.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use steelyard_core::volume::meta::{Meta, Row};

use crate::support::{FRESH, Scratch, WRITE, digest, labels, pairs, row};

const BLOBS: u32 = 2_000;

/// Spread over the digests, so that every part of the file has some.
fn spread(number: u32) -> Row {
    let with = [("all", "yes"), ("number", &*number.to_string())];
    let mut row = row(number, &with);
    row.digest = digest(number * (u32::MAX / BLOBS));
    row
}

fn filled() -> Scratch {
    let scratch = Scratch::new();
    drop(scratch.open(FRESH));
    let connection = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    for row in (0..BLOBS).map(spread) {
        let (digest, number) = (row.digest.to_string(), row.labels["number"].clone());
        let json = format!("{{\"all\":\"yes\",\"number\":\"{number}\"}}");
        let times = (row.created_ns, row.updated_ns);
        let size = i64::try_from(row.size).unwrap();
        let blob = "INSERT INTO blobs VALUES (?1, ?2, ?3, ?4, NULL, ?5)";
        connection.execute(blob, rusqlite::params![digest, size, times.0, times.1, json]).unwrap();
        for (key, value) in row.labels.iter() {
            connection.execute("INSERT INTO labels VALUES (?1, ?2, ?3)", [key, value, &digest]).unwrap();
        }
    }
    connection.execute_batch("INSERT INTO settings VALUES ('x', '1'); COMMIT").unwrap();
    scratch
}

/// Rebuild with all blobs on disk but the last, and one that was never known.
fn rebuild(meta: &Meta) -> Vec<String> {
    let lines = meta.rebuild(|take| {
        for number in 0..BLOBS - 1 {
            let known = spread(number);
            take(Row::plain(known.digest, known.size, 5))?;
        }
        take(Row::plain(digest(u32::MAX), 7, 5))
    });
    lines.unwrap()
}

/// Return how many of the blobs on disk have their labels, and check that no wrong ones are there.
fn labelled(meta: &Meta) -> usize {
    let mut count = 0;
    for number in 0..BLOBS - 1 {
        let expected = spread(number);
        let found = meta.get(&expected.digest).unwrap().unwrap();
        assert_eq!(expected.size, found.size);
        if found.labels.is_empty() {
            continue;
        }
        count += 1;
        assert_eq!(expected.labels, found.labels);
        let by_label = meta.labelled(&pairs(&[("number", &number.to_string())]), None, 2).unwrap();
        assert_eq!(vec![expected.digest], by_label.into_iter().map(|row| row.digest).collect::<Vec<_>>());
    }
    assert_eq!(labels(&[]), meta.get(&digest(u32::MAX)).unwrap().unwrap().labels);
    count
}

fn spoil(path: &Path, from: u64, size: usize) {
    fs::File::options().write(true).open(path).unwrap().write_all_at(&vec![0xa5; size], from).unwrap();
}

#[test]
fn a_good_file_is_kept_whole() {
    let scratch = filled();
    let (meta, _) = scratch.open(WRITE);
    let plain = Row::plain(spread(4).digest, 0, 0);
    meta.set_verified(&[plain], 44).unwrap();

    let lines = rebuild(&meta);

    assert_eq!(BLOBS as usize - 1, labelled(&meta));
    let kept = meta.get(&spread(4).digest).unwrap().unwrap();
    assert_eq!(Row { verified_ns: Some(44), ..spread(4) }, kept);
    assert_eq!(Some("1".to_owned()), meta.setting("x").unwrap());
    let text = lines.join("\n");
    assert!(text.contains("lost nothing") && text.contains("1999 blobs, made rows for 1 others"), "{text}");
    assert!(text.contains("meta.db.damaged-1"), "{text}");
}

#[test]
fn a_damaged_page_costs_no_label_because_the_index_has_them_too() {
    let scratch = filled();
    let path = scratch.join("meta.db");
    let size = fs::metadata(&path).unwrap().len();
    spoil(&path, size / 4096 / 2 * 4096, 4096);
    let before = fs::read(&path).unwrap();
    let (meta, _) = scratch.open(WRITE);

    let lines = rebuild(&meta);

    assert_eq!(BLOBS as usize - 1, labelled(&meta), "{lines:?}");
    assert_eq!(before, fs::read(scratch.join("meta.db.damaged-1")).unwrap());
    assert_eq!(None, meta.damage());
}

#[test]
fn every_single_page_may_be_lost() {
    let size = fs::metadata(filled().join("meta.db")).unwrap().len();
    for page in (0..size / 4096).step_by(23) {
        let scratch = filled();
        spoil(&scratch.join("meta.db"), page * 4096, 4096);
        let (meta, _) = scratch.open(WRITE);

        let lines = rebuild(&meta);

        let count = labelled(&meta);
        assert!(count > BLOBS as usize / 2, "page {page}: {count} left: {lines:?}");
        assert_eq!(None, meta.damage());
    }
}

#[test]
fn a_lost_first_page_costs_nothing() {
    let scratch = filled();
    spoil(&scratch.join("meta.db"), 0, 4096);
    let (meta, notes) = scratch.open(WRITE);
    assert_eq!(1, notes.len());

    let lines = rebuild(&meta);

    assert_eq!(BLOBS as usize - 1, labelled(&meta), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("lost nothing")), "{lines:?}");
}

#[test]
fn a_garbled_log_is_kept_aside() {
    let scratch = filled();
    fs::write(scratch.join("meta.db-wal"), vec![0xa5; 9_000]).unwrap();
    let (meta, _) = scratch.open(WRITE);

    rebuild(&meta);

    assert_eq!(BLOBS as usize - 1, labelled(&meta));
    assert_eq!(vec![0xa5; 9_000], fs::read(scratch.join("meta.db.damaged-1-wal")).unwrap());
}

#[test]
fn what_only_the_log_holds_is_kept() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    meta.put(&spread(3)).unwrap();
    let copy = Scratch::new();
    fs::copy(scratch.join("meta.db-wal"), copy.join("meta.db-wal")).unwrap();
    fs::File::create(copy.join("meta.db")).unwrap();
    let (meta, notes) = copy.open(WRITE);
    assert!(notes[0].contains("is empty"), "{notes:?}");

    rebuild(&meta);

    assert_eq!(1, labelled(&meta));
}

#[test]
fn anything_in_its_place_is_moved_aside() {
    let scratch = Scratch::new();
    for number in 1..=2 {
        fs::remove_file(scratch.join("meta.db")).ok();
        fs::create_dir(scratch.join("meta.db")).unwrap();
        fs::write(scratch.join("meta.db/note"), "mine").unwrap();
        let (meta, _) = scratch.open(WRITE);

        let lines = rebuild(&meta);

        assert!(lines.iter().any(|line| line.contains("lost all labels")), "{lines:?}");
        assert!(scratch.join(&format!("meta.db.damaged-{number}/note")).exists());
        meta.put(&row(1, &[("a", "b")])).unwrap();
    }
    assert_eq!(Vec::<String>::new(), scratch.names("meta.db.new"));
}
