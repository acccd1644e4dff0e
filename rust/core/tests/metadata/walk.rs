//! Listing: everything once, in order, with what the filters ask for, and nothing that is no blob.

use std::fs;
use std::os::unix::fs::symlink;

use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::filter::Filter;
use steelyard_core::model::Info;

use crate::support::{Scratch, labels, put, read_only, store, walk};

fn digests(infos: &[Info]) -> Vec<Digest> {
    infos.iter().map(|info| info.digest).collect()
}

#[test]
fn blobs_come_in_the_order_of_their_digests_as_text() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let mut expected = Vec::new();
    for algorithm in Algorithm::ALL {
        for number in 0..30 {
            let put = store.put(format!("{number}").as_bytes(), algorithm, None, None).unwrap();
            expected.push(put.digest.to_string());
        }
    }
    expected.sort();

    for most in [0, 1, 7, 1_000] {
        let texts: Vec<_> = walk(&store, &[], most).iter().map(|info| info.digest.to_string()).collect();
        assert_eq!(expected, texts, "steps of {most}");
    }
}

#[test]
fn what_is_no_blob_is_passed_over() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[]);
    let dir = scratch.join("blobs/sha256");
    fs::write(dir.join("stray"), "").unwrap();
    fs::write(dir.join("A".repeat(64)), "").unwrap();
    fs::write(dir.join("a".repeat(63)), "").unwrap();
    fs::create_dir(dir.join("b".repeat(64))).unwrap();
    symlink(dir.join(digest.encoded()), dir.join("c".repeat(64))).unwrap();
    fs::create_dir(scratch.join("blobs/md5")).unwrap();
    fs::write(scratch.join("blobs/md5").join("a".repeat(32)), "").unwrap();
    fs::write(scratch.join("blobs/sha512"), "not a directory").unwrap();

    assert_eq!(vec![digest], digests(&walk(&store, &[], 9)));
    assert_eq!(vec![digest], digests(&walk(&read_only(&scratch), &[], 9)));
}

#[test]
fn an_empty_store_and_one_without_any_directory_list_nothing() {
    let scratch = Scratch::new();
    assert!(walk(&read_only(&scratch), &[], 9).is_empty());
    assert!(walk(&read_only(&scratch), &["labels.a==b"], 9).is_empty());
    assert!(walk(&store(&scratch), &[], 9).is_empty());
}

#[test]
fn a_listing_is_what_info_says_of_each_before_and_after_it_was_remembered() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    for number in 0..40 {
        put(&store, &number.to_string(), if number % 3 == 0 { &[("third", "yes")] } else { &[] });
    }

    let first = walk(&store, &[], 7);
    let again = walk(&store, &[], 7);
    let expected: Vec<_> = first.iter().map(|info| store.volume().info(&info.digest).unwrap()).collect();

    assert_eq!(expected, first);
    assert_eq!(expected, again);
    assert_eq!(expected, walk(&read_only(&scratch), &[], 7));
}

#[test]
fn blobs_that_vanish_during_a_walk_are_no_error() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let all: Vec<_> = (0..200).map(|number| put(&store, &number.to_string(), &[])).collect();
    let mut walk = store.volume().walk(&Filter::compile::<&str>(&[]).unwrap(), None).unwrap();
    let mut seen = digests(&walk.next(1).unwrap());
    for digest in all.iter().filter(|digest| **digest != seen[0]).step_by(2) {
        store.volume().delete(digest).unwrap();
    }

    while let infos = walk.next(64).unwrap()
        && !infos.is_empty()
    {
        seen.extend(digests(&infos));
    }

    let left = digests(&crate::support::walk(&store, &[], 500));
    assert!(seen.is_sorted() && left.iter().all(|digest| seen.contains(digest)));
}

#[test]
fn filters_on_labels_find_the_same_with_and_without_the_index() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    for number in 0..60 {
        let (kind, text) = (["a", "b", "c"][number % 3], number.to_string());
        put(&store, &text, &[("kind", kind), ("number", &text)]);
    }

    // The second form of each can't be answered by the index.
    for (indexed, scanned) in [
        (vec!["labels.kind==a"], vec!["labels.kind~=^a$"]),
        (vec!["labels.kind==a", "labels.number==7"], vec!["labels.kind~=^a$", "labels.number~=^7$"]),
        (vec!["labels.kind==a,size<2"], vec!["labels.kind~=^a$,size<2"]),
        (vec!["labels.kind==z"], vec!["labels.kind~=^z$"]),
    ] {
        assert_eq!(walk(&store, &scanned, 5), walk(&store, &indexed, 5), "{indexed:?}");
    }
    assert_eq!(20, walk(&store, &["labels.kind==a"], 5).len());
    assert_eq!(60, walk(&store, &["labels.kind==a", ""], 5).len());
}

#[test]
fn an_update_shows_in_the_next_walk() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[]);
    assert_eq!(1, walk(&store, &[], 9).len());

    let info = store.volume().update(&digest, &labels(&[("a", "b")]), None).unwrap();

    assert_eq!(vec![info.clone()], walk(&store, &[], 9));
    assert_eq!(vec![info], walk(&store, &["labels.a==b"], 9));
}

#[test]
fn verified_blobs_can_be_passed_over() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let all: Vec<_> = (0..3).map(|number| put(&store, &number.to_string(), &[])).collect();
    store.volume().mark_verified(&all[..1], 10).unwrap();
    store.volume().mark_verified(&all[1..2], 20).unwrap();

    let mut walk = store.volume().walk(&Filter::compile::<&str>(&[]).unwrap(), Some(15)).unwrap();

    let mut left = vec![all[0], all[2]];
    left.sort();
    assert_eq!(left, digests(&walk.next(9).unwrap()));
}

#[test]
fn a_foreign_root_is_listed_by_its_files_alone() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.join("blobs/sha256")).unwrap();
    let name = "ab".repeat(32);
    let file = fs::File::create(scratch.join("blobs/sha256").join(&name)).unwrap();
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(1_234_567_891);
    file.set_modified(modified).unwrap();
    let store = read_only(&scratch);

    let all = walk(&store, &["size==0"], 9);

    let digest = Digest::parse(&format!("sha256:{name}")).unwrap();
    let (created_ns, updated_ns) = (1_234_567_891, 1_234_567_891);
    assert_eq!(vec![Info { digest, size: 0, created_ns, updated_ns, labels: labels(&[]) }], all);
    assert_eq!(all[0], store.volume().info(&digest).unwrap());
    assert_eq!(vec!["blobs"], scratch.names(""));
}
