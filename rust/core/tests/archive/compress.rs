//! Compression: what goes in comes out, whatever way it is cut; what is broken is refused.

use std::time::Instant;

use proptest::prelude::*;
use steelyard_core::archive::compress::{Bounds, Compressor, Decompressor, Format};
use steelyard_core::error::{Error, Result};

/// Compress an input in pieces of `cut` bytes into an output that grows by `room` bytes.
fn compressed(format: Format, level: Option<i32>, input: &[u8], cut: usize, room: usize) -> Vec<u8> {
    let mut compressor = Compressor::new(format, level).unwrap();
    let (mut output, mut buffer) = (Vec::new(), vec![0; room]);
    for mut piece in input.chunks(cut) {
        loop {
            let count = compressor.run(&mut piece, &mut buffer).unwrap();
            output.extend_from_slice(&buffer[..count]);
            if count < room {
                break;
            }
        }
    }
    loop {
        let count = compressor.finish(&mut buffer).unwrap();
        output.extend_from_slice(&buffer[..count]);
        if count < room {
            return output;
        }
    }
}

fn decompressed_with(bounds: Bounds, input: &[u8], cut: usize, room: usize) -> (Vec<u8>, Result<()>) {
    let mut decompressor = Decompressor::new(Format::detect(input), bounds).unwrap();
    let (mut output, mut buffer) = (Vec::new(), vec![0; room]);
    for mut piece in input.chunks(cut) {
        loop {
            match decompressor.run(&mut piece, &mut buffer) {
                Ok(count) => {
                    output.extend_from_slice(&buffer[..count]);
                    if count < room {
                        break;
                    }
                }
                Err(error) => return (output, Err(error)),
            }
        }
    }
    (output, decompressor.finish())
}

fn decompressed(input: &[u8]) -> (Vec<u8>, Result<()>) {
    decompressed_with(Bounds::default(), input, 4096, 65536)
}

fn squeezed(format: Format, input: &[u8]) -> Vec<u8> {
    compressed(format, None, input, usize::MAX, 65536)
}

/// Bytes that compress to about a half.
fn sample(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b"steelyard weighs\0"[(state >> 28) as usize]
    };
    (0..size).map(step).collect()
}

/// The output of `xz` for "steelyard\n".
const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x09\x73\x74\x65\x65\x6c\x79\x61\x72\x64\x0a\x00\x00\x00\x43\xef\x44\x2c\x98\x17\xb4\x6a\x00\x01\x22\x0a\x15\x1a\xe1\x67\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

#[test]
fn formats_are_found_by_their_first_bytes() {
    for (head, format) in [
        (&b"\x1f\x8b\x08"[..], Format::Gzip),
        (b"\x28\xb5\x2f\xfd", Format::Zstd),
        (b"\x50\x2a\x4d\x18\x04", Format::Zstd),
        (b"\x5f\x2a\x4d\x18", Format::Zstd),
        (b"\x60\x2a\x4d\x18", Format::Plain),
        (b"\xfd7zXZ\0", Format::Xz),
        (b"\xfd7zXZ", Format::Plain),
        (b"blobs/", Format::Plain),
        (b"", Format::Plain),
    ] {
        assert_eq!(format, Format::detect(head), "{head:?}");
    }
}

#[test]
fn all_of_xz_comes_out() {
    assert_eq!((b"steelyard\n".to_vec(), Ok(())), decompressed(XZ));
    assert_eq!((b"steelyard\nsteelyard\n".to_vec(), Ok(())), decompressed(&[XZ, XZ].concat()));
}

#[test]
fn the_output_does_not_depend_on_the_way_the_input_is_cut() {
    let input = sample(600_000);
    for (format, level) in
        [(Format::Gzip, 1), (Format::Gzip, 6), (Format::Gzip, 9), (Format::Zstd, 3), (Format::Zstd, 9)]
    {
        let whole = compressed(format, Some(level), &input, usize::MAX, 1 << 20);
        for (cut, room) in [(31, 100_000), (511, 777), (65536, 50), (100_001, 1 << 20)] {
            assert!(whole == compressed(format, Some(level), &input, cut, room), "{format:?} {level}: {cut}, {room}");
        }
        assert_eq!(Ok(()), decompressed(&whole).1);
        assert!(input == decompressed(&whole).0);
    }
}

#[test]
fn the_header_of_gzip_has_no_time_and_the_system_unix() {
    assert_eq!([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], squeezed(Format::Gzip, b"x")[..10]);
}

#[test]
fn several_streams_are_one() {
    for format in [Format::Gzip, Format::Zstd] {
        let (a, b, empty) = (squeezed(format, b"a"), squeezed(format, b"b"), squeezed(format, b""));
        assert_eq!((b"ab".to_vec(), Ok(())), decompressed(&[&a[..], &empty, &b, &empty].concat()));
    }
    let skipped = [b"\x53\x2a\x4d\x18\x03\0\0\0abc", &squeezed(Format::Zstd, b"x")[..]].concat();
    assert_eq!((b"x".to_vec(), Ok(())), decompressed(&skipped));
}

#[test]
fn a_stream_that_ends_early_is_refused() {
    let input = sample(3000);
    for whole in [squeezed(Format::Gzip, &input), squeezed(Format::Zstd, &input), XZ.to_vec()] {
        let format = Format::detect(&whole);
        for length in 6..whole.len() {
            let error = decompressed(&whole[..length]).1.unwrap_err();

            let Error::InvalidArchive { expected, found, .. } = error else { panic!("{error:?}") };
            assert_eq!(format!("one or more whole {} streams", format.name()), expected);
            assert_eq!(format!("its end after {length} bytes"), found);
        }
    }
}

#[test]
fn bytes_after_a_stream_are_refused() {
    for whole in [squeezed(Format::Gzip, b"x"), squeezed(Format::Zstd, b"x"), XZ.to_vec()] {
        for garbage in [&b"\0"[..], b"\0\0\0\0", b"garbage", b"\x1f", &[0; 600]] {
            if whole == XZ && garbage.iter().all(|byte| *byte == 0) && garbage.len() % 4 == 0 {
                continue; // the padding of xz
            }
            let (_, end) = decompressed(&[&whole[..], garbage].concat());

            assert!(
                matches!(end, Err(Error::InvalidArchive { .. })),
                "{:?} {garbage:?}: {end:?}",
                Format::detect(&whole)
            );
        }
    }
}

#[test]
fn zero_bytes_between_xz_streams_are_padding_if_they_are_fours() {
    let (once, _) = decompressed(XZ);
    for (first, last, whole) in [(4, 0, true), (0, 8, true), (1 << 20, 4, true), (3, 0, false), (4, 5, false)] {
        let input = [XZ, &vec![0; first], XZ, &vec![0; last]].concat();
        let (found, end) = decompressed(&input);

        assert_eq!(whole, end.is_ok(), "{first} {last}: {end:?}");
        if whole {
            assert_eq!([&once[..], &once].concat(), found);
        }
    }
}

#[test]
fn bzip2_is_refused_by_its_name() {
    for head in [&b"BZh91AY&SY"[..], b"BZh1\x17\x72E8P\x90"] {
        assert_eq!(Format::Bzip2, Format::detect(head));
    }
    assert_eq!(Format::Plain, Format::detect(b"BZh.txt"));
    let Err(error) = Decompressor::new(Format::Bzip2, Bounds::default()) else { panic!("it is not supported") };
    assert!(error.to_string().contains("bzip2, which is not supported"), "{error}");
}

#[test]
fn damage_is_found() {
    let input = sample(3000);
    for whole in [squeezed(Format::Gzip, &input), squeezed(Format::Zstd, &input), XZ.to_vec()] {
        for at in 10..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            let (output, end) = decompressed(&damaged);

            assert!(end.is_err() || output == input, "{at}");
        }
    }
}

#[test]
fn memory_is_bounded_whatever_the_input_declares() {
    let small = Bounds { memory: 1 << 20, ..Bounds::default() };
    let (_, end) = decompressed_with(small, XZ, 4096, 4096);
    assert!(format!("{end:?}").contains("emory"), "{end:?}");
    // A frame that declares a window of 2 GiB.
    let (_, end) = decompressed(b"\x28\xb5\x2f\xfd\x00\xa8\x01\0\0");
    assert!(format!("{end:?}").contains("too much memory"), "{end:?}");
}

#[test]
fn a_ratio_over_the_limit_is_refused_until_it_is_lifted() {
    let zeros = vec![0; 4 << 20];
    for format in [Format::Gzip, Format::Zstd] {
        let bomb = squeezed(format, &zeros);
        let bounds = Bounds { ratio: Some(100), ..Bounds::default() };

        let (output, end) = decompressed_with(bounds, &bomb, 4096, 65536);

        assert!(matches!(end, Err(Error::LimitExceeded { limit: "ratio", allowed: 100, .. })), "{end:?}");
        assert!(output.len() <= (1 << 20) + 65536);
        let mut lifted = Decompressor::new(format, bounds).unwrap();
        lifted.lift_ratio();
        let mut buffer = vec![0; 5 << 20];
        assert_eq!(Ok(4 << 20), lifted.run(&mut &bomb[..], &mut buffer));
    }
}

#[test]
fn very_many_empty_streams_cost_no_more_than_their_bytes() {
    let empty = squeezed(Format::Gzip, b"");
    let many = empty.repeat(50_000);
    let begin = Instant::now();

    assert_eq!((Vec::new(), Ok(())), decompressed(&many));

    println!("{} bytes in {:?}", many.len(), begin.elapsed());
}

#[test]
fn levels_and_formats_that_are_not_written_are_refused() {
    for (format, level) in [
        (Format::Xz, None),
        (Format::Plain, None),
        (Format::Gzip, Some(0)),
        (Format::Gzip, Some(10)),
        (Format::Zstd, Some(20)),
        (Format::Zstd, Some(-1)),
    ] {
        assert!(matches!(Compressor::new(format, level), Err(Error::InvalidArgument { .. })), "{format:?} {level:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_goes_in_comes_out(
        input in proptest::collection::vec(0_u8..4, 0..20_000),
        zstd in any::<bool>(),
        (cut, room) in (1_usize..5000, 1_usize..5000),
    ) {
        let format = if zstd { Format::Zstd } else { Format::Gzip };
        let bytes = compressed(format, None, &input, cut, room);

        prop_assert_eq!((input, Ok(())), decompressed_with(Bounds::default(), &bytes, room, cut));
    }

    #[test]
    fn no_way_to_cut_garbage_changes_what_comes_out(
        mut input in proptest::collection::vec(any::<u8>(), 0..2000),
        (kind, cut) in (0_usize..4, 1_usize..300),
    ) {
        let whole = [squeezed(Format::Gzip, &input), squeezed(Format::Zstd, &input), XZ.to_vec(), b"\x1f\x8b\x08\0".to_vec()];
        let mut bytes = whole[kind].clone();
        let keep = bytes.len() * 2 / 3;
        bytes.truncate(keep.max(6));
        input.truncate(40);
        bytes.extend_from_slice(&input);

        let whole = decompressed_with(Bounds::default(), &bytes, usize::MAX, 100_000);
        let pieces = decompressed_with(Bounds::default(), &bytes, cut, cut);

        prop_assert_eq!(whole.1.is_err(), pieces.1.is_err());
        if whole.1.is_ok() {
            prop_assert_eq!(whole.0, pieces.0);
        }
    }
}
