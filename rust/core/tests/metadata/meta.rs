//! Rows, labels, hints and settings in a good file.

use std::os::unix::fs::PermissionsExt;

use steelyard_core::error::Error;
use steelyard_core::volume::meta::{LARGE, Row};

use crate::support::{FRESH, Scratch, WRITE, digest, labels, pairs, row};

#[test]
fn rows_come_back_after_a_reopen() {
    let scratch = Scratch::new();
    let (meta, notes) = scratch.open(FRESH);
    let mut strange = row(1, &[("a", "\0\n\"ü"), ("", "not checked here"), ("k", "")]);
    strange.verified_ns = Some(-5);
    meta.put(&strange).unwrap();
    drop(meta);

    let (meta, more) = scratch.open(WRITE);

    assert_eq!(Vec::<String>::new(), [notes, more].concat());
    assert_eq!(Some(strange), meta.get(&digest(1)).unwrap());
    assert_eq!(None, meta.get(&digest(2)).unwrap());
}

#[test]
fn the_file_and_its_log_are_ours_alone() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    meta.put(&row(1, &[])).unwrap();

    assert_eq!(vec!["meta.db", "meta.db-shm", "meta.db-wal"], scratch.names(""));
    for name in scratch.names("") {
        assert_eq!(0o600, std::fs::metadata(scratch.join(&name)).unwrap().permissions().mode() & 0o777, "{name}");
    }
}

#[test]
fn many_rows_come_in_the_order_asked_for() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    meta.put(&row(3, &[("a", "b")])).unwrap();
    meta.remember(&[row(1, &[]), row(2, &[])]);

    let found = meta.get_many(&[digest(3), digest(9), digest(1)]).unwrap();
    assert_eq!(vec![Some(row(3, &[("a", "b")])), None, Some(row(1, &[]))], found);

    let found = meta.range(&digest(1), &digest(2)).unwrap();
    assert_eq!(vec![row(1, &[]), row(2, &[])], found);
}

#[test]
fn a_remembered_row_never_replaces_labels() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    meta.put(&row(1, &[("a", "b")])).unwrap();

    meta.remember(&[row(1, &[])]);

    assert_eq!(Some(row(1, &[("a", "b")])), meta.get(&digest(1)).unwrap());
}

#[test]
fn the_label_index_follows_every_change() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    let find = |wanted: &[(&str, &str)]| {
        let rows = meta.labelled(&pairs(wanted), None, 10).unwrap();
        rows.into_iter().map(|row| row.digest).collect::<Vec<_>>()
    };
    for number in 1..=3 {
        meta.put(&row(number, &[("all", "yes"), ("number", &number.to_string())])).unwrap();
    }
    assert_eq!(vec![digest(1), digest(2), digest(3)], find(&[("all", "yes")]));
    assert_eq!(
        vec![digest(1), digest(3)],
        find(&[("number", "1"), ("absent", "x"), ("zz", "3")][..1])
            .into_iter()
            .chain(find(&[("number", "3")]))
            .collect::<Vec<_>>()
    );

    meta.put(&row(2, &[("all", "no")])).unwrap();
    meta.try_forget(&[digest(3)]).unwrap();

    assert_eq!(vec![digest(1)], find(&[("all", "yes")]));
    assert_eq!(Vec::<steelyard_core::digest::Digest>::new(), find(&[("number", "2")]));
    assert_eq!(None, meta.get(&digest(3)).unwrap());
}

#[test]
fn label_answers_come_in_steps_without_repeats() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    for number in 0..10 {
        meta.put(&row(number, &[("a", if number % 2 == 0 { "even" } else { "odd" }), ("b", "both")])).unwrap();
    }
    let wanted = vec![("a".to_owned(), "odd".to_owned()), ("b".to_owned(), "both".to_owned())];

    let mut seen = Vec::new();
    while let rows = meta.labelled(&wanted, seen.last(), 3).unwrap()
        && !rows.is_empty()
    {
        assert!(rows.len() <= 3);
        seen.extend(rows.into_iter().map(|row| row.digest));
    }

    assert_eq!((0..10).map(digest).collect::<Vec<_>>(), seen);
}

#[test]
fn a_published_blob_has_its_own_labels_only() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);

    let blob = |number, labels| Row { labels, ..Row::plain(digest(number), 5, 7) };
    meta.try_before_publish(&[blob(1, labels(&[("a", "b")])), blob(2, labels(&[("a", "c")]))]).unwrap();
    assert_eq!(vec![true, true, false], meta.have_rows(&[digest(1), digest(2), digest(3)]).unwrap());
    let first = meta.get(&digest(1)).unwrap().unwrap();
    assert_eq!((labels(&[("a", "b")]), 7, 7, 5), (first.labels, first.created_ns, first.updated_ns, first.size));

    // The row is there, its file never came: the next blob of that name begins without labels.
    meta.try_before_publish(&[Row::plain(digest(1), 5, 9)]).unwrap();
    let second = meta.get(&digest(1)).unwrap().unwrap();
    assert_eq!((labels(&[]), 9, 9), (second.labels, second.created_ns, second.updated_ns));
    assert!(meta.labelled(&pairs(&[("a", "b")]), None, 1).unwrap().is_empty());
}

#[test]
fn only_the_sizes_of_large_blobs_are_asked_for() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);

    meta.remember(&[Row::plain(digest(1), LARGE - 1, 1), Row::plain(digest(2), LARGE, 1)]);

    assert!(meta.has_size(LARGE).unwrap());
    assert!(!meta.has_size(LARGE + 1).unwrap());
    assert!(meta.has_size(1).unwrap(), "below the limit there is no telling");
}

#[test]
fn verification_times_stay_when_labels_change() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    meta.put(&row(1, &[("a", "b")])).unwrap();
    meta.set_verified(&[row(1, &[]), row(2, &[])], 77).unwrap();

    meta.put(&row(1, &[("a", "c")])).unwrap();

    let rows = meta.get_many(&[digest(1), digest(2)]).unwrap();
    assert_eq!(vec![Some(77), Some(77)], rows.into_iter().map(|row| row.unwrap().verified_ns).collect::<Vec<_>>());
}

#[test]
fn settings_can_be_set_and_removed() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    assert_eq!(None, meta.setting("x").unwrap());

    meta.set_setting("x", Some("1")).unwrap();
    meta.set_setting("x", Some("2")).unwrap();
    assert_eq!(Some("2".to_owned()), meta.setting("x").unwrap());

    meta.set_setting("x", None).unwrap();
    assert_eq!(None, meta.setting("x").unwrap());
}

#[test]
fn a_closed_store_says_so() {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);

    meta.close();

    assert!(matches!(meta.get(&digest(1)), Err(Error::StoreClosed { .. })));
    assert!(matches!(meta.put(&row(1, &[])), Err(Error::StoreClosed { .. })));
    assert_eq!(vec!["meta.db"], scratch.names(""), "the log was folded into the file");
}

#[test]
fn writers_of_several_connections_lose_nothing() {
    let scratch = Scratch::new();
    drop(scratch.open(FRESH));
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (meta, notes) = scratch.open(WRITE);
            assert_eq!(Vec::<String>::new(), notes);
            scope.spawn(move || {
                for number in 0..25 {
                    meta.put(&row(part * 100 + number, &[("part", &part.to_string())])).unwrap();
                }
            });
        }
    });

    let (meta, _) = scratch.open(WRITE);

    for part in ["0", "1", "2", "3"] {
        assert_eq!(25, meta.labelled(&pairs(&[("part", part)]), None, 100).unwrap().len());
    }
}

#[test]
fn openers_of_a_new_store_agree_on_one_file() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let scratch = &scratch;
            scope.spawn(move || scratch.open(FRESH).0.put(&row(number, &[])).unwrap());
        }
    });

    assert_eq!(8, scratch.open(WRITE).0.range(&digest(0), &digest(8)).unwrap().len());
    assert_eq!(vec!["meta.db"], scratch.names(""));
}
