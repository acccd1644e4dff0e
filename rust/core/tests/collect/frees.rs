//! The blobs that go, and those that stay.

use std::fs;

use steelyard_core::archive::json::Role;
use steelyard_core::digest::Digest;
use steelyard_core::error::Error;
use steelyard_core::model::{Labels, Resources};
use steelyard_core::store::collect::{Keep, Options};

use crate::common::{Scratch, sha256};
use crate::support::{
    EXPIRE, FLAT, HOUR, NOW, REFERENCE, ROOT, collect, document, image, labels, name, name_with, put, put_labelled,
    reason, removed, sorted, stored,
};

#[test]
fn what_killed_writers_left_of_ingests_goes_and_nothing_that_can_be_resumed() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let directory = |ref_: &str| scratch.root.join("ingest").join(sha256(ref_.as_bytes()).encoded());
    let open = |ref_: &str| store.ingests().open(ref_, None, None, None).unwrap();
    for ref_ in ["aborted", "kept", "no state"] {
        let ingest = open(ref_);
        ingest.write(b"part").unwrap();
        ingest.sync().unwrap();
    }
    let held = open("held");
    held.write(b"part").unwrap();
    held.sync().unwrap();
    for ref_ in ["aborted", "held"] {
        fs::remove_file(directory(ref_).join("data")).unwrap();
    }
    fs::remove_file(directory("no state").join("state")).unwrap();
    fs::create_dir(scratch.root.join("ingest").join("foreign")).unwrap();

    removed(&store);
    collect(&store, NOW).unwrap();

    let left = fs::read_dir(scratch.root.join("ingest")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    let expected = [directory("kept"), directory("held")].map(|path| path.file_name().unwrap().to_owned());
    let mut expected: Vec<_> = expected.into_iter().map(|name| name.into_string().unwrap()).collect();
    expected.push("foreign".to_owned());
    expected.sort();
    assert_eq!(expected, left);
}

#[test]
fn exactly_what_no_name_keeps_goes_and_a_dry_run_says_so() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let images = ["a", "b", "c"].map(|text| (text, image(&store, text)));
    for (text, blobs) in &images {
        name(&store, text, blobs[0]);
    }
    assert_eq!(Vec::<Digest>::new(), removed(&store));
    store.volume().delete_image("b", None).unwrap();
    let before = stored(&store);

    let (report, found) = collect(&store, Options { dry_run: true, ..NOW }).unwrap();
    assert_eq!((3, 6), (report.blobs, report.kept[0]));
    assert_eq!(sorted(images[1].1), sorted(found.iter().map(|found| found.digest)));
    assert!(found.iter().all(|found| found.goes));
    assert_eq!(before, stored(&store));

    assert_eq!(sorted(images[1].1), removed(&store));
    assert_eq!(sorted([images[0].1, images[2].1].concat()), stored(&store));
    let condemned = fs::read_dir(scratch.root.join("condemned/sha256")).unwrap();
    assert_eq!(0, condemned.count());
}

#[test]
fn a_directory_of_others_among_the_condemned_is_left_alone() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let first = image(&store, "a");
    assert_eq!(sorted(first), removed(&store));
    let others = scratch.root.join("condemned/sha256/others");
    fs::create_dir(&others).unwrap();

    let second = image(&store, "b");
    assert_eq!(sorted(second), removed(&store));
    assert!(others.is_dir());
}

#[test]
fn an_index_keeps_its_manifests_and_a_subject_what_is_said_about_it() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let [manifest, one, two] = image(&store, "a");
    let index = put(&store, &document(&[(manifest, Role::Document)]));
    let note = put(&store, "signature");
    let signature = put(&store, &document(&[(note, Role::Part), (manifest, Role::Subject)]));
    let other = put(&store, &document(&[(signature, Role::Subject)]));
    name(&store, "a", index);

    assert_eq!(Vec::<Digest>::new(), removed(&store));
    let kept = reason(&store, note);
    assert_eq!(vec![index, manifest, signature, note], kept.chain);
    assert_eq!(Some("a"), kept.root.as_ref().map(|root| root.name.as_str()));

    store.volume().delete_image("a", None).unwrap();
    assert_eq!(None, reason(&store, note).root);
    name(&store, "signature", signature);
    assert_eq!(vec![index], removed(&store), "a signature keeps its image");
    store.volume().delete_image("signature", None).unwrap();
    assert_eq!(sorted([manifest, one, two, note, signature, other]), removed(&store));
}

#[test]
fn each_kind_of_root_keeps_its_blob_as_long_as_it_lasts() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let past = "2020-01-01T00:00:00Z";
    let named = put(&store, "named");
    name_with(&store, "lasts", named, &[(EXPIRE, "2999-01-01T00:00:00Z")]);
    let expired = put(&store, "expired");
    name_with(&store, "expired", expired, &[(EXPIRE, past)]);
    let labelled = put_labelled(&store, "labelled", &[(ROOT, "yes")]);
    let empty = put_labelled(&store, "empty", &[(ROOT, "")]);
    let late = put_labelled(&store, "late", &[(ROOT, "yes"), (EXPIRE, past)]);
    let leased = put(&store, "leased");
    store.volume().create_lease("lease", &Labels::new(), HOUR).unwrap();
    let resources = Resources { digests: vec![leased], refs: Vec::new() };
    store.volume().add_to_lease("lease", &resources).unwrap();
    let expected = put(&store, "expected");
    let ingest = store.ingests().open("ref", None, Some(&sha256(b"expected!")), None).unwrap();
    ingest.write(b"part").unwrap();
    ingest.sync().unwrap();

    assert_eq!(sorted([expired, empty, late, expected]), removed(&store));
    let keeps = |digest| reason(&store, digest).root.map(|root| (root.kind, root.name));
    assert_eq!(Some((Keep::Image, "lasts".to_owned())), keeps(named));
    assert_eq!(Some((Keep::Label, labelled.to_string())), keeps(labelled));
    assert_eq!(Some((Keep::Lease, "lease".to_owned())), keeps(leased));
    let wanted = put(&store, "expected!");
    assert_eq!(Some((Keep::Ingest, "ref".to_owned())), keeps(wanted));
    assert_eq!([1, 1, 1, 1], collect(&store, NOW).unwrap().0.kept);

    store.volume().delete_image("lasts", None).unwrap();
    store.volume().update(&labelled, &Labels::new(), None).unwrap();
    store.volume().delete_lease("lease").unwrap();
    drop(ingest);
    store.ingests().abort("ref").unwrap();
    assert_eq!(sorted([named, labelled, leased, wanted]), removed(&store));
}

#[test]
fn labels_name_blobs_and_a_flat_lease_follows_nothing() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let [one, two, three, four] = ["1", "2", "3", "4"].map(|text| put(&store, text));
    let texts = [&one, &two, &three, &four].map(ToString::to_string);
    let with = [
        (REFERENCE, texts[0].as_str()),
        ("containerd.io/gc.ref.content.l.0", &texts[1]),
        ("containerd.io/gc.ref.content/l", &texts[2]),
        ("containerd.io/gc.ref.contents", &texts[3]),
        ("containerd.io/gc.ref.content.bad", "sha256:bad"),
    ];
    let parent = put_labelled(&store, "parent", &with);
    name(&store, "a", parent);
    let (report, found) = collect(&store, NOW).unwrap();
    assert_eq!(vec![four], found.iter().map(|found| found.digest).collect::<Vec<_>>());
    assert!(report.warnings.iter().any(|text| text.contains("sha256:bad")), "{:?}", report.warnings);

    store.volume().create_lease("flat", &labels(&[(FLAT, "yes")]), HOUR).unwrap();
    let resources = Resources { digests: vec![parent], refs: Vec::new() };
    store.volume().add_to_lease("flat", &resources).unwrap();
    store.volume().delete_image("a", None).unwrap();
    assert_eq!(sorted([one, two, three]), removed(&store));
    assert_eq!(vec![parent], stored(&store));
}

#[test]
fn circles_and_a_blob_that_names_itself_end() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let itself = sha256(b"itself").to_string();
    put_labelled(&store, "itself", &[(REFERENCE, &itself)]);
    let [one, two] = ["one", "two"].map(|text| sha256(text.as_bytes()).to_string());
    let first = put_labelled(&store, "one", &[(REFERENCE, &two)]);
    let second = put_labelled(&store, "two", &[(REFERENCE, &one)]);
    name(&store, "a", second);

    assert_eq!(vec![sha256(b"itself")], removed(&store));
    assert_eq!(vec![second, first], reason(&store, first).chain);
    store.volume().delete_image("a", None).unwrap();
    assert_eq!(sorted([first, second]), removed(&store));
}

#[test]
fn other_json_has_no_edges_and_a_malformed_document_is_reported() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let blob = put(&store, "blob");
    put(&store, &format!(r#"{{"other":[{{"digest":"{blob}"}}]}}"#));
    put(&store, "{ no json");
    let malformed = put(&store, "no document");
    name(&store, "a", malformed);
    let missing = sha256(b"missing");
    let lacking = put(&store, &document(&[(missing, Role::Document)]));
    name(&store, "b", lacking);

    for _ in 0..2 {
        let (report, _) = collect(&store, NOW).unwrap();
        assert_eq!(1, report.warnings.len(), "{:?}", report.warnings);
        assert!(report.warnings[0].contains(&malformed.to_string()), "{:?}", report.warnings);
        assert_eq!(sorted([malformed, lacking]), stored(&store));
    }
}

#[test]
fn a_document_that_is_damaged_ends_the_collection_and_nothing_is_removed() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let [manifest, ..] = image(&store, "a");
    name(&store, "a", manifest);
    put(&store, "garbage");
    let before = stored(&store);
    let path = scratch.blob(&manifest);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    for damaged in [text.replace("layers", "lairs!"), format!("x{}", &text[1..])] {
        fs::write(&path, damaged).unwrap();
        let error = collect(&store, NOW).unwrap_err();
        assert!(matches!(&error, Error::DataCorrupt { name, .. } if *name == manifest.to_string()), "{error:?}");
        assert_eq!(before, stored(&store));
        fs::remove_file(&path).unwrap();
    }
    fs::write(&path, text).unwrap();
    assert_eq!(vec![sha256(b"garbage")], removed(&store));
}

#[test]
fn with_a_budget_the_oldest_go_first_and_what_is_missed_is_said() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let [manifest, one, two] = image(&store, "a");
    name(&store, "a", manifest);
    let kept: u64 = [manifest, one, two].iter().map(|digest| store.volume().info(digest).unwrap().size).sum();
    let garbage: Vec<_> = (0..10).map(|number| put(&store, &format!("garbage {number}"))).collect();
    let size = "garbage 0".len() as u64;

    let budget = |most| Options { max_bytes: Some(most), ..NOW };
    let (report, found) = collect(&store, budget(kept + 6 * size)).unwrap();
    assert_eq!((4, 0), (report.blobs, report.missed_bytes));
    assert_eq!(garbage[..4], found.iter().map(|found| found.digest).collect::<Vec<_>>());
    assert_eq!(0, collect(&store, budget(kept + 6 * size)).unwrap().0.blobs);

    let (report, _) = collect(&store, Options { dry_run: true, ..budget(kept - 1) }).unwrap();
    assert_eq!((6, 1), (report.blobs, report.missed_bytes));
    let (report, _) = collect(&store, budget(kept - 1)).unwrap();
    assert_eq!((6, 1), (report.blobs, report.missed_bytes));
}
