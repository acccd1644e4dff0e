//! The bytes pass as the client has sent them, but for its authority, wherever they are cut.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Authority, CONTINUATION, HEADERS, PADDED, PRIORITY};

/// A frame of a type with flags and a payload.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// A header of which the name is in the tables.
fn header(place: u8, value: &[u8]) -> Vec<u8> {
    [&[0x40 | place, u8::try_from(value.len()).unwrap()], value].concat()
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat()
}

/// These bytes as h2 gets them, in whatever parts they come.
fn passed(bytes: &[u8]) -> Vec<u8> {
    let mut whole = bytes.to_vec();
    Authority::new().pass(&mut whole);
    for size in [1, 2, 7] {
        assert_eq!(whole, passed_in(bytes, &[size]));
    }
    whole
}

/// These bytes as h2 gets them if they come in parts of such sizes, again and again.
fn passed_in(bytes: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut authority = Authority::new();
    let mut rest = &mut bytes[..];
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, more) = rest.split_at_mut((*size).min(rest.len()));
        authority.pass(part);
        rest = more;
    }
    bytes
}

#[test]
fn a_path_in_the_authority_is_changed_and_nothing_else_is() {
    let path = header(4, b"/a%2Fb");
    let long = [&[0x40, 3][..], b"x%y", &[0x7F, 0xA0, 0x01], &[b'%'; 287]].concat();
    let before = [vec![0x83, 0x86], path, header(1, b"tmp%2Fs%2Ft"), long].concat();
    let after = [vec![0x83, 0x86], header(4, b"/a%2Fb"), header(1, b"tmp-2Fs-2Ft")].concat();
    let frames = |headers: &[u8]| [frame(4, 0, b"%%%%%%"), frame(1, 4, headers), frame(0, 1, b"\x41\x01%")];

    let found = passed(&connection(&frames(&before)));
    let expected = connection(&frames(&[after, before[before.len() - 295..].to_vec()].concat()));

    assert_eq!(expected, found);
}

#[test]
fn a_name_that_is_given_in_full_is_found() {
    let named = |name: &[u8]| [&[0x40, u8::try_from(name.len()).unwrap()], name, &[3], b"a%b"].concat();
    for (name, value) in [(&b":authority"[..], b"a-b"), (b":authoritz", b"a%b"), (b":authority2", b"a%b")] {
        assert!(passed(&connection(&[frame(1, 4, &named(name))])).ends_with(value));
    }
}

#[test]
fn padding_priorities_and_continuations_are_passed_over() {
    let (first, second) = (header(1, b"a%b"), header(1, b"c%d"));
    let padded = [&[2, 0, 0, 0, 0, 16][..], &first[..3], b"%%"].concat();
    let rest = [&first[3..], &second].concat();
    let found = passed(&connection(&[frame(1, 0x28, &padded), frame(9, 4, &rest)]));

    assert!(found.ends_with(&header(1, b"c-d")));
    assert!(found.windows(2).any(|pair| pair == b"%%"));
    assert!(!found.windows(3).any(|part| part == b"a%b"));
}

#[test]
fn a_compressed_authority_is_left_as_it_is() {
    let mut compressed = header(1, b"%%%");
    compressed[1] |= 0x80;
    let bytes = connection(&[frame(1, 4, &compressed)]);

    assert_eq!(bytes, passed(&bytes));
}

#[test]
fn frames_are_counted_however_they_are_cut() {
    let bytes = connection(&[frame(4, 0, b"123456"), frame(6, 0, b"\x04\x04"), frame(4, 1, b""), frame(4, 0, b"")]);
    for size in [1, 8, 1_000] {
        let mut authority = Authority::new();
        let counted = bytes.clone().chunks_mut(size).map(|part| authority.pass(part)).sum::<usize>();
        assert_eq!(3 * 64 + 1, counted);
    }
}

/// A header, as a client sends it and as h2 gets it.
type Sent = (Vec<u8>, Vec<u8>);

/// A number with so many bits of its first byte, of which the others are given.
fn number(first: u8, mask: u8, value: usize) -> Vec<u8> {
    if value < usize::from(mask) {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | mask];
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest % 0x80).unwrap() | 0x80);
        rest /= 0x80;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// A string, compressed or not: its bytes are any, for nothing looks at them.
fn string(value: &[u8], is_compressed: bool) -> Vec<u8> {
    [number(if is_compressed { 0x80 } else { 0 }, 0x7F, value.len()), value.to_vec()].concat()
}

/// A header of any kind: known whole, a change of the table's size, with a known name, or with a name in full.
fn any_header() -> impl Strategy<Value = Sent> {
    let value = || prop_oneof![vec(prop_oneof![Just(b'%'), any::<u8>()], 0..300)];
    // How it is to be kept in the table, and the bits for the place of its name.
    let kept = || prop_oneof![Just((0x40_u8, 0x3F_u8)), Just((0, 0x0F)), Just((0x10, 0x0F))];
    let known = (kept(), prop_oneof![Just(1_usize), 2..300_usize], value(), any::<bool>());
    let name = prop_oneof![Just(b":authority".to_vec()), Just(b":authoritz".to_vec()), vec(any::<u8>(), 0..200)];
    let named = (kept(), name, value(), any::<bool>(), any::<bool>());
    prop_oneof![
        (1..300_usize).prop_map(|place| same(number(0x80, 0x7F, place))),
        (0..5_000_usize).prop_map(|size| same(number(0x20, 0x1F, size))),
        known.prop_map(|((first, mask), place, value, is_compressed)| {
            sent(&number(first, mask, place), &value, is_compressed, place == 1)
        }),
        named.prop_map(|((first, _), name, value, is_named_so, is_compressed)| {
            let is_authority = name == b":authority" && !is_named_so;
            sent(&[vec![first], string(&name, is_named_so)].concat(), &value, is_compressed, is_authority)
        }),
    ]
}

fn same(bytes: Vec<u8>) -> Sent {
    (bytes.clone(), bytes)
}

fn sent(before: &[u8], value: &[u8], is_compressed: bool, is_authority: bool) -> Sent {
    let changed = |byte: &u8| if *byte == b'%' && is_authority && !is_compressed { b'-' } else { *byte };
    let got = value.iter().map(changed).collect::<Vec<_>>();
    ([before, &string(value, is_compressed)].concat(), [before, &string(&got, is_compressed)].concat())
}

/// The headers of a call, in a frame of HEADERS and any number of CONTINUATION, with padding and a priority or without.
fn any_headers() -> impl Strategy<Value = Sent> {
    let padding = proptest::option::of(vec(any::<u8>(), 0..256));
    let priority = proptest::option::of(any::<[u8; 5]>());
    (vec(any_header(), 0..8), vec(any::<prop::sample::Index>(), 0..3), padding, priority).prop_map(
        |(headers, cuts, padding, priority)| {
            let (sent, got): (Vec<_>, Vec<_>) = headers.into_iter().unzip();
            let frames = |block: Vec<u8>| {
                let mut cuts = cuts.iter().map(|cut| cut.index(block.len() + 1)).collect::<Vec<_>>();
                cuts.sort_unstable();
                let ends = cuts.iter().copied().chain([block.len()]);
                let begins = [0].into_iter().chain(cuts.iter().copied());
                let parts = begins.zip(ends).map(|(begin, end)| &block[begin..end]).collect::<Vec<_>>();
                let mut first = Vec::new();
                let mut flags = 0;
                if let Some(padding) = &padding {
                    flags |= PADDED;
                    first.push(u8::try_from(padding.len()).unwrap());
                }
                if let Some(priority) = priority {
                    flags |= PRIORITY;
                    first.extend_from_slice(&priority);
                }
                first.extend_from_slice(parts[0]);
                first.extend(padding.iter().flatten());
                let more = parts[1..].iter().flat_map(|part| frame(CONTINUATION, 0, part));
                frame(HEADERS, flags, &first).into_iter().chain(more).collect::<Vec<_>>()
            };
            (frames(sent.concat()), frames(got.concat()))
        },
    )
}

/// A frame without headers.
fn any_other() -> impl Strategy<Value = Sent> {
    let kind = any::<u8>().prop_filter("no headers", |kind| *kind != HEADERS && *kind != CONTINUATION);
    let payload = vec(prop_oneof![Just(b'%'), any::<u8>()], 0..400);
    (kind, any::<u8>(), payload).prop_map(|(kind, flags, payload)| same(frame(kind, flags, &payload)))
}

proptest! {
    #[test]
    fn of_any_frames_in_any_pieces_nothing_but_authorities_is_changed(
        frames in vec(prop_oneof![any_headers(), any_other()], 0..6),
        sizes in vec(1..2_000_usize, 1..5),
    ) {
        let (sent, got): (Vec<_>, Vec<_>) = frames.into_iter().unzip();

        prop_assert_eq!(connection(&got), passed_in(&connection(&sent), &sizes));
    }

    #[test]
    fn of_any_bytes_nothing_but_some_percent_signs_is_changed(
        bytes in vec(prop_oneof![0..10_u8, Just(b'%'), any::<u8>()], 0..2_000),
        sizes in vec(1..500_usize, 1..5),
    ) {
        let given = connection(&[bytes]);
        let found = passed_in(&given, &sizes);

        prop_assert_eq!(&found, &passed(&given));
        prop_assert_eq!(given.len(), found.len());
        prop_assert!(given.iter().zip(&found).all(|(given, found)| given == found || (*given, *found) == (b'%', b'-')));
    }
}
