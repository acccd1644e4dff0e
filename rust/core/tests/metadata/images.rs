//! Image names: all or none, and never moved under a caller who expected something else.

use std::fs;
use std::os::unix::fs::FileExt;

use steelyard_core::error::Error;
use steelyard_core::filter::Filter;
use steelyard_core::model::{Image, Target};
use steelyard_core::store::Store;
use steelyard_core::volume::images::{Change, Taken};
use steelyard_core::volume::meta::Meta;

use crate::support::{Scratch, WRITE, digest, labels, read_only, store};

fn target(number: u32) -> Target {
    Target {
        digest: digest(number),
        size: Some(7),
        media_type: Some("text/plain".to_owned()),
        annotations: (*labels(&[("from", "\u{fc} \"quoted\"")])).clone(),
    }
}

fn assign(store: &Store, names: &[(&str, u32)], taken: Taken) -> Result<Vec<Image>, Error> {
    let targets: Vec<_> = names.iter().map(|(name, number)| ((*name).to_owned(), target(*number))).collect();
    store.volume().assign_images(&targets, None, taken)
}

fn names(store: &Store, filters: &[&str]) -> Vec<String> {
    let images = store.volume().images(&Filter::compile(filters).unwrap()).unwrap();
    images.into_iter().map(|image| image.name).collect()
}

/// A store whose `meta.db` is of version 1.
fn old() -> Scratch {
    let scratch = Scratch::new();
    drop(store(&scratch));
    let connection = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    connection.execute_batch("DROP TABLE images; PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    scratch
}

#[test]
fn names_are_given_all_or_none() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let made = assign(&store, &[("b", 1), ("a", 2)], Taken::Refuse).unwrap();
    assert_eq!((target(1), "b"), (made[0].target.clone(), &*made[0].name));
    assert_eq!(made[0], store.volume().image("b").unwrap());

    let refused = assign(&store, &[("c", 3), ("a", 3)], Taken::Keep).unwrap_err();

    assert_eq!(Error::NameTaken { name: "a".to_owned(), digest: digest(2).to_string() }, refused);
    assert_eq!(vec!["a", "b"], names(&store, &[]));
    assert!(assign(&store, &[("b", 1)], Taken::Refuse).is_err());
    assert_eq!(made[0], assign(&store, &[("b", 1)], Taken::Keep).unwrap()[0]);
    let moved = assign(&store, &[("a", 9)], Taken::Overwrite).unwrap().remove(0);
    assert_eq!((digest(9), made[1].created_ns), (moved.target.digest, moved.created_ns));
    assert!(moved.updated_ns > made[1].updated_ns);
}

#[test]
fn a_change_is_made_only_to_what_was_expected() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    assign(&store, &[("a", 1)], Taken::Refuse).unwrap();
    let wrong = digest(2).to_string();

    let change = Change { target: Some(target(2)), labels: Some(((*labels(&[("x", "1"), ("y", "2")])).clone(), None)) };
    let refused = store.volume().update_image("a", &change, Some(&wrong)).unwrap_err();
    assert!(matches!(&refused, Error::NameMoved { actual, .. } if *actual == digest(1).to_string()), "{refused:?}");
    assert!(store.volume().delete_image("a", Some(&wrong)).is_err());

    let changed = store.volume().update_image("a", &change, Some(&digest(1).to_string())).unwrap();
    assert_eq!((digest(2), 2), (changed.target.digest, changed.labels.len()));
    let keys = Some(vec!["x".to_owned(), "z".to_owned()]);
    let change = Change { target: None, labels: Some(((*labels(&[("z", "3"), ("no", "4")])).clone(), keys)) };
    let changed = store.volume().update_image("a", &change, None).unwrap();
    assert_eq!(*labels(&[("y", "2"), ("z", "3")]), changed.labels);
    assert_eq!(vec!["a"], names(&store, &["labels.z==3,size==7,name~=^a,media_type==text/plain"]));
    assert_eq!(Vec::<String>::new(), names(&store, &["labels.x"]));

    store.volume().delete_image("a", Some(&wrong)).unwrap();
    assert!(matches!(store.volume().delete_image("a", None), Err(Error::NotFound { kind: "image name", .. })));
    assert!(store.volume().image("a").is_err());
}

#[test]
fn an_older_file_is_read_as_it_is_and_brought_up_to_date_by_a_writer() {
    let scratch = old();
    let reader = read_only(&scratch);
    assert_eq!((Vec::<String>::new(), Vec::<String>::new()), (names(&reader, &[]), reader.volume().notes()));
    assert!(reader.volume().image("a").is_err());
    assert!(assign(&reader, &[("a", 1)], Taken::Refuse).is_err());

    let writer = store(&scratch);
    assign(&writer, &[("a", 1)], Taken::Refuse).unwrap();

    assert_eq!(vec!["a"], names(&reader, &[]));
    assert_eq!(Vec::<String>::new(), writer.volume().notes());
}

#[test]
fn names_of_a_damaged_file_are_not_taken_for_absent() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    assign(&store, &[("a", 1)], Taken::Refuse).unwrap();
    fs::remove_file(scratch.join("meta.db")).unwrap();

    assert!(matches!(assign(&store, &[("b", 1)], Taken::Refuse), Err(Error::DataCorrupt { .. })));
    assert!(matches!(store.volume().image("a"), Err(Error::DataCorrupt { .. })));
    assert!(matches!(store.volume().images(&Filter::compile::<&str>(&[]).unwrap()), Err(Error::DataCorrupt { .. })));
}

fn rebuild(scratch: &Scratch) -> (Meta, String) {
    let (meta, _) = scratch.open(WRITE);
    let lines = meta.rebuild(|_| Ok(())).unwrap();
    (meta, lines.join("\n"))
}

fn with_names(scratch: &Scratch) -> Vec<Image> {
    let store = store(scratch);
    let names: Vec<_> = (0..200).map(|number| format!("example.com/{number:03}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (&**name, 5)).collect();
    assign(&store, &pairs, Taken::Refuse).unwrap()
}

#[test]
fn a_rebuild_keeps_names_even_without_the_first_page() {
    for spoiled in [None, Some(0)] {
        let scratch = Scratch::new();
        let images = with_names(&scratch);
        if let Some(page) = spoiled {
            let file = fs::File::options().write(true).open(scratch.join("meta.db")).unwrap();
            file.write_all_at(&[0xa5; 4096], page).unwrap();
        }

        let (meta, text) = rebuild(&scratch);

        assert_eq!(images, meta.images().unwrap(), "{text}");
        assert!(text.contains("kept 200 image names") && text.contains("lost nothing"), "{text}");
    }
}

#[test]
fn a_rebuild_reports_the_names_that_it_lost() {
    let scratch = Scratch::new();
    let images = with_names(&scratch);
    let pages = fs::metadata(scratch.join("meta.db")).unwrap().len() / 4096;
    let file = fs::File::options().write(true).open(scratch.join("meta.db")).unwrap();
    file.write_all_at(&[0xa5; 4096], (pages - 3) * 4096).unwrap();

    let (meta, text) = rebuild(&scratch);

    let kept = meta.images().unwrap();
    assert!(!kept.is_empty() && kept.len() < images.len(), "{}", kept.len());
    assert!(kept.iter().all(|image| images.contains(image)));
    assert!(text.contains("lost image names") && !text.contains("lost nothing"), "{text}");
}
