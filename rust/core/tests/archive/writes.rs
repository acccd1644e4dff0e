use proptest::prelude::*;
use steelyard_core::archive::tar::{BLOCK, END, Kind, Layout, Limits, Member, Reader, write_header};
use steelyard_core::error::Error;

use crate::support::{entries, read};

fn member(name: &str, size: u64) -> Member {
    Member { name: name.to_owned(), kind: Kind::Regular, size, mode: 0o444 }
}

/// The archive of these members, all their data the same byte.
fn written(members: &[Member]) -> Vec<u8> {
    let layout = Layout::new(members).unwrap();
    let mut bytes = vec![0; usize::try_from(layout.size).unwrap()];
    for (member, place) in members.iter().zip(&layout.places) {
        let (header, data) =
            (usize::try_from(place.header_offset).unwrap(), usize::try_from(place.data_offset).unwrap());
        bytes[header..header + place.header.len()].copy_from_slice(&place.header);
        bytes[data..data + usize::try_from(member.size).unwrap()].fill(7);
    }
    bytes
}

#[test]
fn a_header_has_these_bytes() {
    let header = write_header(&member("blobs/sha256/ab", 513)).unwrap();

    assert_eq!(BLOCK, header.len());
    assert_eq!(b"blobs/sha256/ab\0", &header[..16]);
    assert_eq!(b"0000444\x000000000\x000000000\x0000000001001\x0000000000000\x00", &header[100..148]);
    assert_eq!(b"ustar\x0000", &header[257..265]);
    assert_eq!(b"0000000\x000000000\x00", &header[329..345]);
}

#[test]
fn an_archive_without_members_is_its_end() {
    assert_eq!(Layout { places: vec![], end: 0, size: END.len() as u64 }, Layout::new(&[]).unwrap());
}

#[test]
fn a_directory_ends_in_a_slash() {
    let directory = Member { kind: Kind::Directory, ..member("blobs", 0) };
    assert_eq!(b"blobs/\0", &write_header(&directory).unwrap()[..7]);
    assert_eq!(Kind::Directory, entries(&written(&[directory]))[0].0.kind);
}

#[test]
fn long_names_take_the_prefix_then_pax() {
    let prefixed = format!("{}/{}", "d".repeat(60), "f".repeat(80));
    assert_eq!(BLOCK, write_header(&member(&prefixed, 0)).unwrap().len());
    let most = format!("{}/{}", "d".repeat(155), "f".repeat(100));
    assert_eq!(BLOCK, write_header(&member(&most, 0)).unwrap().len());
    let long = format!("{}/{}", "d".repeat(156), "f".repeat(100));
    assert_eq!(3 * BLOCK, write_header(&member(&long, 0)).unwrap().len());
    assert_eq!(3 * BLOCK, write_header(&member("größe", 0)).unwrap().len());
    let names = [prefixed, most, long, "größe".to_owned(), "f".repeat(101)];
    let members: Vec<_> = names.iter().map(|name| member(name, 5)).collect();

    let found = entries(&written(&members));

    assert_eq!(names.to_vec(), found.into_iter().map(|(entry, _)| entry.name).collect::<Vec<_>>());
}

#[test]
fn from_8_gib_on_the_size_is_in_pax() {
    let most = 0o777_7777_7777;
    assert_eq!(BLOCK, write_header(&member("a", most)).unwrap().len());
    let larger = member("a", most + 1);
    let header = write_header(&larger).unwrap();
    assert_eq!(3 * BLOCK, header.len());

    let mut reader = Reader::new(Limits::default());
    let event = reader.feed(&mut &header[..]).unwrap();

    assert!(format!("{event:?}").contains("size: 8589934592"), "{event:?}");
    let layout = Layout::new(&[larger, member("b", 0)]).unwrap();
    assert_eq!((most + 1 + 3 * 512, 512), (layout.places[1].header_offset, layout.places[1].header.len()));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let refused = |members: &[Member]| matches!(Layout::new(members), Err(Error::InvalidArgument { .. }));
    for name in ["", "/a", "../a", "a/../b", "./a", "a//b", "a/", "a\0b", ".", &"x".repeat(5000)] {
        assert!(refused(&[member(name, 0)]), "{name:?}");
    }
    assert!(refused(&[member("a", 0), member("a", 0)]));
    assert!(refused(&[Member { kind: Kind::Directory, ..member("a", 1) }]));
    assert!(refused(&[Member { kind: Kind::Symlink, ..member("a", 0) }]));
    assert!(refused(&[member("a", u64::MAX)]));
    assert!(refused(&[member("a", i64::MAX as u64 - 600), member("b", 0)]));
}

proptest! {
    #[test]
    fn what_is_written_is_read(names in proptest::collection::btree_map("[a-zé./_-]{1,40}(/[a-z]{1,120}){0,3}", 0_u64..2000, 0..8)) {
        let members: Vec<_> = names.iter().map(|(name, size)| member(name, *size)).collect();
        let Ok(layout) = Layout::new(&members) else { return Ok(()) };

        let bytes = written(&members);
        let contents = read(&bytes);

        prop_assert_eq!(None, contents.error);
        prop_assert_eq!(layout.size, bytes.len() as u64);
        prop_assert_eq!(members.len(), contents.entries.len());
        for ((member, place), (entry, data)) in members.iter().zip(&layout.places).zip(&contents.entries) {
            prop_assert_eq!(&member.name, &entry.name);
            prop_assert_eq!((place.header_offset, place.data_offset), (entry.header_offset, entry.data_offset));
            prop_assert_eq!(member.size, data.len() as u64);
            prop_assert!(data.iter().all(|byte| *byte == 7));
        }
    }
}
