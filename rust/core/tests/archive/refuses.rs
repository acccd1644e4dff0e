use steelyard_core::archive::tar::{END, Limits};
use steelyard_core::error::Error;

use crate::support::{Head, archive, entry, file, long, pax, read, read_cut, record, refusal};

/// Check that an archive of these parts is refused, that the refusal names the entry, and in these words.
#[track_caller]
fn refused(parts: &[Vec<u8>], entry: &str, expected: &str, found: &str) {
    let refusal = refusal(&archive(parts));

    assert_eq!((entry, expected, found), (refusal.0.as_deref().unwrap_or("-"), &*refusal.1, &*refusal.2));
}

fn link(flag: u8, name: &str, target: &str) -> Vec<u8> {
    Head::new(flag, name, 0).target(target).block()
}

#[test]
fn names_that_lead_out_of_the_archive() {
    refused(&[file("/etc/passwd", b"")], "/etc/passwd", "a relative name", "\"/etc/passwd\"");
    refused(&[file("a/../b", b"")], "a/../b", "a name without \"..\"", "\"a/../b\"");
    refused(&[file("..", b"")], "..", "a name without \"..\"", "\"..\"");
    refused(&[link(b'2', "a", "/etc/passwd")], "a", "a relative link target", "\"/etc/passwd\"");
    refused(&[link(b'2', "a/b", "../../c")], "a/b", "a link that stays in the archive", "\"../../c\"");
    refused(&[link(b'2', "a/b", "x/../../../a")], "a/b", "a link that stays in the archive", "\"x/../../../a\"");
    refused(&[link(b'1', "a/b", "../c")], "a/b", "a name without \"..\"", "\"../c\"");
    refused(&[link(b'1', "a/b", "/c")], "a/b", "a relative link target", "\"/c\"");
    refused(
        &[pax(&[("path", &format!("../{}", "x".repeat(100)))]), file("x", b"")],
        &format!("../{}", "x".repeat(100)),
        "a name without \"..\"",
        &format!("\"../{}\"", "x".repeat(100)),
    );
}

#[test]
fn names_that_are_none() {
    refused(&[file("", b"")], "-", "a name", "an empty one");
    refused(&[file("./", b"")], "./", "a regular whose name does not end in a slash", "\"./\"");
    refused(&[file("a/", b"x")], "a/", "a regular whose name does not end in a slash", "\"a/\"");
    let odd = entry(Head::new(b'0', "", 0).with(0, b"a\xff"), b"");
    refused(&[odd], "a\u{fffd}", "a name in UTF-8", "\"a\u{fffd}\"");
    let long_name = "x/".repeat(2050) + "x";
    let parts = [pax(&[("path", &long_name)]), file("x", b"")];
    refused(&parts, &long_name[..300], "a name of at most 4096 bytes", "4101 bytes");
}

#[test]
fn kinds_that_no_image_needs() {
    for (flag, found) in [
        (b'3', "a character device"),
        (b'4', "a block device"),
        (b'6', "a pipe"),
        (b'S', "a sparse file"),
        (b'7', "an entry of type \"7\""),
        (b'D', "an entry of type \"D\""),
        (b'V', "an entry of type \"V\""),
        (b'M', "an entry of type \"M\""),
        (b'Z', "an entry of type \"Z\""),
    ] {
        refused(&[Head::new(flag, "a", 0).block()], "a", "a regular file, a directory or a link", found);
    }
    let sparse = [pax(&[("GNU.sparse.realsize", "5")]), file("a", b"")];
    refused(&sparse, "-", "no sparse files and no volumes", "a PAX record \"GNU.sparse.\"");
    let star = [pax(&[("SCHILY.realsize", "5")]), file("a", b"")];
    refused(&star, "-", "no sparse files and no volumes", "a PAX record \"SCHILY.realsize\"");
}

#[test]
fn data_where_there_is_none() {
    refused(&[entry(Head::new(b'5', "a", 5), b"12345")], "a", "no data of a directory", "5 bytes");
    refused(&[entry(Head::new(b'2', "a", 5).target("b"), b"12345")], "a", "no data of a symlink", "5 bytes");
    refused(&[entry(Head::new(b'1', "a", 5).target("b"), b"12345")], "a", "no data of a hardlink", "5 bytes");
    let records = [pax(&[("size", "512")]), Head::new(b'5', "a", 0).block(), file("hidden", b"")];
    refused(&records, "a", "the size 0 of the header", "512 in PAX");
}

#[test]
fn targets_where_there_are_none_and_links_without() {
    refused(&[entry(Head::new(b'0', "a", 0).target("b"), b"")], "a", "no link target", "\"b\"");
    refused(&[pax(&[("linkpath", "b")]), file("a", b"")], "a", "the link target \"\" of the header", "\"b\"");
    let long_target = "b".repeat(101);
    refused(
        &[pax(&[("linkpath", &long_target)]), file("a", b"")],
        "a",
        "no link target",
        &format!("\"{long_target}\""),
    );
    refused(&[link(b'2', "a", "")], "a", "a link target", "none");
    refused(&[link(b'1', "a", "")], "a", "a link target", "none");
}

#[test]
fn sizes_that_disagree() {
    refused(&[pax(&[("size", "1024")]), file("a", b"x")], "a", "the size 1 of the header", "1024 in PAX");
    refused(&[pax(&[("size", "0")]), file("a", b"x")], "a", "the size 1 of the header", "0 in PAX");
    refused(&[pax(&[("size", "1")]), file("a", b"")], "a", "the size 0 of the header", "1 in PAX");
    let both = [pax(&[("size", "1"), ("size", "1")]), file("a", b"x")];
    refused(&both, "-", "one PAX record \"size\"", "two");
}

#[test]
fn names_that_disagree() {
    refused(&[pax(&[("path", "b")]), file("a", b"")], "b", "the name \"a\" of the header", "\"b\"");
    refused(&[long(b'L', "b"), file("a", b"")], "b", "the name \"a\" of the header", "\"b\"");
    let name = "n".repeat(120);
    let shown = format!("\"{name}\"");
    refused(&[long(b'L', &name), file("a", b"")], &name, "the name \"a\" of the header", &shown);
    let twice = [pax(&[("path", &name), ("path", "b")]), file("a", b"")];
    refused(&twice, "-", "one PAX record \"path\"", "two");
    let other_link = [pax(&[("linkpath", "c")]), link(b'2', "a", "b")];
    refused(&other_link, "a", "the link target \"b\" of the header", "\"c\"");
}

#[test]
fn extended_headers_that_belong_to_no_entry() {
    let name = "n".repeat(120);
    let expected = ("an entry after its extended header", "another extended header");
    let (x, l, k) = (pax(&[("path", &name)]), long(b'L', &name), long(b'K', &name));
    let g = entry(Head::new(b'g', "g", 0), b"");
    for parts in [[&x, &x], [&x, &l], [&l, &x], [&l, &l], [&k, &k], [&x, &k], [&x, &g], [&l, &g]] {
        let text = archive(&[parts[0].clone(), parts[1].clone(), file("a", b"")]);

        let refusal = refusal(&text);

        assert_eq!(expected, (&*refusal.1, &*refusal.2));
    }
    refused(&[x], &name, "an entry after its extended header", "the end of the archive");
}

#[test]
fn global_headers_that_name_or_size_entries() {
    for (key, value) in [("path", "a"), ("linkpath", "a"), ("size", "5")] {
        let data = record(key, value);
        let global = entry(Head::new(b'g', "g", data.len() as u64), data.as_bytes());

        refused(&[global, file("a", b"")], "-", "a global header without path, linkpath and size", "one of them");
    }
}

#[test]
fn records_that_are_malformed() {
    let rule = "a PAX record `length key=value`";
    for data in [
        "x",
        "5 a=b\n",
        "7 a=b\n",
        "06 a=b\n",
        "+6 a=b\n",
        " 6 a=b\n",
        "6 a=bc",
        "5 abc\n",
        "5 =b\n",
        "2 \n",
        "6\na=b\n",
        "99999999999 a=b\n",
        "18446744073709551616 a=b\n",
        "6 a=b\n\0",
        "-6 a=b\n",
        "8 a\0b=c\n",
    ] {
        let header = entry(Head::new(b'x', "x", data.len() as u64), data.as_bytes());

        let refusal = refusal(&archive(&[header, file("a", b"")]));

        assert_eq!(rule, refusal.1, "{data:?}");
    }
    for (key, value) in [("size", "-1"), ("size", ""), ("size", "0x5"), ("size", "9223372036854775808"), ("uid", "-1")]
    {
        let expected = format!("a number in the PAX record \"{key}\"");
        refused(&[pax(&[(key, value)]), file("a", b"")], "-", &expected, &format!("\"{value}\""));
    }
    refused(&[pax(&[("path", "")]), file("a", b"")], "-", "a name in the PAX record \"path\"", "\"\"");
    refused(&[pax(&[("path", "a\0b")]), file("a", b"")], "-", "a name in the PAX record \"path\"", "\"a\\0b\"");
    refused(&[pax(&[("mtime", "-1.5")]), file("a", b"")], "-", "a time in the PAX record \"mtime\"", "\"-1.5\"");
    let charset = [pax(&[("hdrcharset", "EBCDIC")]), file("a", b"")];
    refused(&charset, "-", "names in UTF-8", "the character set \"EBCDIC\"");
}

#[test]
fn numbers_that_are_negative_overflow_or_are_none() {
    let size = |bytes: &[u8; 12]| entry(Head::new(b'0', "a", 0).with(124, bytes), b"");
    let most = "a size of at most 9223372036854775807";
    refused(
        &[size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")],
        "a",
        "a size that is not negative",
        "a negative number in base 256",
    );
    refused(&[size(b"\x80\0\0\0\x80\0\0\0\0\0\0\0")], "a", most, "a larger number in base 256");
    refused(&[size(b"\x80\x01\0\0\0\0\0\0\0\0\0\0")], "a", most, "a larger number in base 256");
    refused(&[size(b"\x81\0\0\0\0\0\0\0\0\0\0\0")], "a", most, "a larger number in base 256");
    refused(
        &[size(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff")],
        "a",
        "an end before byte 9223372036854775807",
        "9223372036854775807 bytes of data",
    );
    refused(&[size(b"-0000000001\0")], "a", "an octal size", "\"-0000000001\\0\"");
    refused(&[size(b"00000000008\0")], "a", "an octal size", "\"00000000008\\0\"");
    refused(&[size(b"0000001\x00junk")], "a", "an octal size", "\"0000001\\0junk\"");
    refused(&[size(b"            ")], "a", "a size", "a blank field");
    refused(&[size(&[0; 12])], "a", "a size", "a blank field");
    let mode = entry(Head::new(b'0', "a", 0).with(100, b"0000x44\0"), b"");
    refused(&[mode], "a", "an octal mode", "\"0000x44\\0\"");
    let time = entry(Head::new(b'0', "a", 0).with(136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), b"");
    refused(&[time], "a", "a time that is not negative", "a negative number in base 256");
}

#[test]
fn headers_with_more_than_their_fields() {
    let rule = |what: &str| format!("zero bytes after the end of the {what}");
    for (at, what) in [(50, "name"), (200, "link target"), (270, "user name"), (310, "group name"), (400, "prefix")] {
        let head = Head::new(b'0', "a", 0).with(at, b"x");
        refused(&[head.block()], "a", &rule(what), &format!("\"{}x{}\"", "\\0".repeat(head_gap(at)), tail(at)));
    }
    refused(
        &[Head::new(b'0', "a", 0).with(508, b"tar\0").block()],
        "a",
        "zero bytes after the header's fields",
        "\"\\0\\0\\0\\0\\0\\0\\0\\0tar\\0\"",
    );
    let gnu = archive(&[Head::gnu(b'0', "a", 0).with(345, b"prefix").block()]);
    assert_eq!("zero bytes where GNU keeps what no image needs", refusal(&gnu).1);
    refused(
        &[Head::new(b'0', "a", 0).with(257, &[0; 8]).block()],
        "a",
        "a header of ustar, PAX or GNU tar",
        "\"\\0\\0\\0\\0\\0\\0\\0\\0\"",
    );
}

/// Zero bytes of the field between its text and the byte at `at`.
fn head_gap(at: usize) -> usize {
    at - match at {
        50 => 1,
        200 => 157,
        270 => 265,
        310 => 297,
        _ => 345,
    }
}

/// The part of the field that is shown after the byte at `at`.
fn tail(at: usize) -> String {
    let end = match at {
        50 => 100,
        200 => 257,
        270 => 297,
        310 => 329,
        _ => 500,
    };
    "\\0".repeat(end - at - 1)
}

#[test]
fn sums_that_are_wrong() {
    let right = file("a", b"");
    let mut wrong = right.clone();
    wrong[0] = b'b';
    let refusal = refusal(&archive(&[file("z", b""), wrong]));
    assert_eq!(Some("b"), refusal.0.as_deref());
    assert!(refusal.1.starts_with("a header with the checksum "), "{refusal:?}");

    // The sum that some old programs made of signed bytes.
    let mut signed = entry(Head::new(b'0', "\u{e9}", 0), b"");
    let sum: i32 = signed[..148].iter().chain(&signed[156..512]).map(|byte| i32::from(byte.cast_signed())).sum();
    signed[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
    assert!(crate::support::refusal(&archive(&[file("z", b""), signed])).1.starts_with("a header with the checksum "));

    let mut blank = right;
    blank[148..156].fill(0);
    assert_eq!("a header with a checksum", crate::support::refusal(&archive(&[file("z", b""), blank])).1);
}

#[test]
fn what_does_not_begin_like_an_archive() {
    for data in [b"text\n".repeat(200), vec![0xff; 4096], b"PK\x03\x04".to_vec(), Vec::new()] {
        let (entry, expected, found) = refusal(&data);
        assert_eq!((None, true), (entry, expected.starts_with("a tar archive")), "{found}");
    }
}

#[test]
fn archives_that_end_early() {
    let whole = archive(&[pax(&[("comment", "x")]), file("a", &[7; 700])]);
    for length in 0..whole.len() {
        let contents = read(&whole[..length]);

        let Some(Error::InvalidArchive { entry, found, .. }) = contents.error else {
            panic!("{length} bytes of the archive were taken for whole");
        };
        assert!(found.starts_with("the end of the input"), "{found}");
        let inside = length >= 1536;
        assert_eq!(inside.then_some("a"), entry.as_deref(), "{length}");
    }
}

#[test]
fn bytes_that_are_not_zero_in_padding_and_after_the_end() {
    let mut dirty = file("a", b"x");
    dirty[600] = 7;
    refused(&[dirty], "a", "zero bytes up to the next header", "\"\\u{7}\"");
    let lone = [file("a", b"x"), vec![0; 512], file("b", b"x")].concat();
    assert_eq!("a second zero block at the end", refusal(&archive(&[lone])).1);
    let another = [archive(&[file("a", b"x")]), archive(&[file("b", b"x")])].concat();
    assert_eq!("nothing but zero bytes after the end", refusal(&another).1);
    let endless = [&END[..], &vec![0; 17 << 20]].concat();
    assert_eq!("at most 16777216 bytes after the end", refusal(&endless).1);
}

#[test]
fn more_than_the_limits() {
    let limits = Limits { entries: 2, header_bytes: 600 };
    let over = |parts: &[Vec<u8>]| match read_cut(&archive(parts), limits, &[]).error {
        Some(Error::LimitExceeded { limit, allowed, .. }) => (limit, allowed),
        other => panic!("expected LimitExceeded, found {other:?}"),
    };
    let (a, b, c) = (file("a", b""), file("b", b""), file("c", b""));
    let global = entry(Head::new(b'g', "g", 0), b"");
    assert_eq!(None, read_cut(&archive(&[a.clone(), b.clone()]), limits, &[]).error);

    assert_eq!(("entries", 2), over(&[a.clone(), b.clone(), c]));
    assert_eq!(("entries", 2), over(&[global.clone(), global.clone(), global]));
    assert_eq!(("header_bytes", 600), over(&[pax(&[("comment", &"x".repeat(600))]), a.clone()]));
    let name = "n".repeat(299);
    assert_eq!(("header_bytes", 600), over(&[long(b'L', &name), long(b'K', &"t".repeat(300)), a.clone()]));
    let (first, second) = (pax(&[("comment", &"x".repeat(580))]), pax(&[("comment", &"y".repeat(580))]));
    assert_eq!(None, read_cut(&archive(&[first, a, second, b]), limits, &[]).error, "the limit is for one entry");
}

#[test]
fn a_declared_size_reserves_nothing() {
    // 8 EiB of data, 2^62 bytes of records: what is not there costs nothing.
    let huge = Head::new(b'0', "a", 0).with(124, b"\x80\0\0\0\x7f\xff\xff\xff\0\0\0\0").block();
    assert_eq!("9223372032559808512 more bytes of data", refusal(&huge).1);
    let limits = Limits { header_bytes: u64::MAX, ..Limits::default() };
    let records = Head::new(b'x', "a", 0).with(124, b"\x80\0\0\0\x40\0\0\0\0\0\0\0").block();
    let error = read_cut(&records, limits, &[]).error;
    assert!(matches!(error, Some(Error::InvalidArchive { .. })), "{error:?}");
}

#[test]
fn an_error_comes_again_and_again() {
    let bytes = archive(&[file("..", b"")]);
    let mut reader = steelyard_core::archive::tar::Reader::new(Limits::default());
    let first = reader.feed(&mut &bytes[..]).unwrap_err();

    assert_eq!(Err(first.clone()), reader.feed(&mut &file("a", b"")[..]));
    assert_eq!(Err(first), reader.finish());
}
