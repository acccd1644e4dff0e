use steelyard_core::archive::tar::Kind;

use crate::support::{Head, archive, entries, entry, file, long, pax, record};

fn name_of(parts: &[Vec<u8>]) -> String {
    entries(&archive(parts))[0].0.name.clone()
}

#[test]
fn an_archive_without_entries() {
    assert!(entries(&archive(&[])).is_empty());
    assert!(entries(&[0; 10240]).is_empty());
    assert!(entries(&[0; 1025]).is_empty());
}

#[test]
fn entries_say_where_they_are() {
    let found = entries(&archive(&[file("a", b"x"), pax(&[("comment", "y")]), file("b/c", &[7; 513])]));

    let [(a, a_data), (b, b_data)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((0, "a", Kind::Regular, 1, 0, 512), (a.index, &*a.name, a.kind, a.size, a.header_offset, a.data_offset));
    assert_eq!((1, "b/c", 513, 1024, 2560), (b.index, &*b.name, b.size, b.header_offset, b.data_offset));
    assert_eq!((&b"x"[..], &[7; 513][..]), (&a_data[..], &b_data[..]));
}

#[test]
fn names_have_one_form() {
    for (given, name) in [("./a", "a"), ("a//b", "a/b"), ("a/./b", "a/b"), (".//a", "a"), ("a...b/..c", "a...b/..c")] {
        assert_eq!(name, name_of(&[file(given, b"")]));
    }
    for (given, name) in [("./", ""), ("blobs/", "blobs"), ("blobs", "blobs"), (".", "")] {
        assert_eq!(name, name_of(&[Head::new(b'5', given, 0).block()]));
    }
}

#[test]
fn names_of_ustar_pax_and_gnu() {
    let hundred = "n".repeat(100);
    assert_eq!(hundred, name_of(&[file(&hundred, b"")]));
    assert_eq!("p/n", name_of(&[entry(Head::new(b'0', "n", 0).with(345, b"p"), b"")]));
    let name = "n".repeat(200);
    assert_eq!(name, name_of(&[pax(&[("path", &name)]), file("whatever", b"")]));
    assert_eq!("é", name_of(&[pax(&[("path", "é")]), file("e", b"")]));
    assert_eq!("é", name_of(&[file("é", b"")]));
    assert_eq!("a", name_of(&[pax(&[("path", "a"), ("comment", "")]), file("a", b"")]));
    assert_eq!(name, name_of(&[long(b'L', &name), file(&name[..100], b"")]));
    assert_eq!("p/n", name_of(&[long(b'L', "p/n"), file("p/n", b"")]));
    let path = format!("{}/{}", "d".repeat(99), "x");
    assert_eq!(path, name_of(&[long(b'L', &path), file(&path[..99], b"")]), "Go leaves a slash out where it cuts");
}

#[test]
fn links_are_resolved_within_the_archive() {
    let link = |flag, name: &str, target: &str| Head::new(flag, name, 0).target(target).block();
    let long_target = format!("../{}", "t".repeat(150));
    let found = entries(&archive(&[
        link(b'2', "id/layer.tar", "../other/layer.tar"),
        link(b'2', "a", "./b"),
        link(b'1', "c", "./d//e"),
        [long(b'K', &long_target), link(b'2', "x/y", &long_target[..100])].concat(),
        [pax(&[("linkpath", &long_target)]), link(b'2', "x/z", "")].concat(),
    ]));

    let targets: Vec<_> = found.iter().map(|(entry, _)| (entry.kind, entry.target.as_deref().unwrap())).collect();
    let end = &long_target[3..];
    let soft = Kind::Symlink;
    assert_eq!(
        vec![(soft, "other/layer.tar"), (soft, "b"), (Kind::Hardlink, "d/e"), (soft, end), (soft, end)],
        targets
    );
}

#[test]
fn names_that_come_again_are_reported() {
    let found = entries(&archive(&[file("a", b"1"), file("b", b""), file("./a", b"2"), file("a", b"1")]));

    assert_eq!(vec![None, None, Some(0), Some(0)], found.iter().map(|(entry, _)| entry.earlier).collect::<Vec<_>>());
}

#[test]
fn numbers_in_all_forms() {
    for size in [
        b"00000000003\0",
        b"          3 ",
        b"3\0\0\0\0\0\0\0\0\0\0\0",
        b"000000000003",
        b"\x80\0\0\0\0\0\0\0\0\0\0\x03",
    ] {
        let found = entries(&archive(&[entry(Head::new(b'0', "a", 0).with(124, size), b"abc")]));

        assert_eq!(b"abc", &found[0].1[..]);
    }
    let blank =
        Head::new(b'0', "a", 1).with(100, &[0; 8]).with(108, b"        ").with(136, &[0; 12]).with(329, &[0; 16]);
    assert_eq!(b"x", &entries(&archive(&[entry(blank, b"x")]))[0].1[..]);
    let same = [pax(&[("size", "1"), ("uid", "5"), ("mtime", "5.25"), ("hdrcharset", "BINARY")]), file("a", b"x")];
    assert_eq!(1, entries(&archive(&same))[0].0.size);
}

#[test]
fn old_regular_files_and_global_comments() {
    let comment = record("comment", "of git archive");
    let global = entry(Head::new(b'g', "pax_global_header", comment.len() as u64), comment.as_bytes());
    let found = entries(&archive(&[global.clone(), entry(Head::new(0, "a", 1), b"x"), global]));

    assert_eq!((Kind::Regular, 1024), (found[0].0.kind, found[0].0.header_offset));
}

#[test]
fn a_gnu_header_with_its_empty_fields() {
    assert_eq!("a", name_of(&[entry(Head::gnu(b'0', "a", 1), b"x")]));
}
