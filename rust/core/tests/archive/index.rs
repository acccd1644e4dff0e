use std::io;

use steelyard_core::archive::tar::{Entry, Indexer, Limits};
use steelyard_core::error::{Error, Result};

use crate::support::{Head, archive, entries, entry, file, pax, read};

/// Index an archive; count the bytes that were read.
fn index(bytes: &[u8], most: usize) -> (Result<Vec<Entry>>, usize) {
    let mut read = 0;
    let mut indexer = Indexer::new(Limits::default(), bytes.len() as u64);
    let mut found = Vec::new();
    loop {
        let step = indexer.step(most, |buffer, offset| {
            let rest = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            read += count;
            Ok(count)
        });
        match step {
            Ok(step) if step.is_empty() => return (Ok(found), read),
            Ok(step) => found.extend(step),
            Err(error) => return (Err(error), read),
        }
    }
}

#[test]
fn it_finds_what_reading_finds() {
    let parts: Vec<_> = (0..300_usize).map(|n| file(&format!("blob-{n}"), &vec![1; n * 37])).collect();
    let bytes = archive(&parts);

    let (found, _) = index(&bytes, 64);

    let expected: Vec<_> = entries(&bytes).into_iter().map(|(entry, _)| entry).collect();
    assert_eq!(Ok(expected), found);
}

#[test]
fn one_step_reads_a_short_archive_to_its_end() {
    let bytes = archive(&[file("a", b"data"), file("b", b"data")]);
    let mut indexer = Indexer::new(Limits::default(), bytes.len() as u64);

    let found = indexer.step(64, |buffer, offset| {
        let rest = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    });

    assert_eq!((2, true), (found.unwrap().len(), indexer.is_done()));
}

#[test]
fn it_does_not_read_data() {
    let bytes = archive(&[file("a", &vec![1; 3 << 20]), file("b", &vec![2; 3 << 20])]);

    let (found, read) = index(&bytes, 64);

    assert_eq!(2, found.unwrap().len());
    assert!(read < 512 << 10, "{read} bytes were read");
}

#[test]
fn data_that_is_cut_off_is_missed() {
    let bytes = archive(&[file("a", &vec![1; 1 << 20])]);

    let error = index(&bytes[..1 << 20], 64).0.unwrap_err();

    let Error::InvalidArchive { entry: Some(name), expected, found, .. } = error else { panic!("{error:?}") };
    assert_eq!(("a", "1048576 bytes of data", "1048064 before the end"), (&*name, &*expected, &*found));
}

#[test]
fn it_refuses_what_reading_refuses() {
    let mut dirty = file("a", &vec![1; 200_001]);
    let last = dirty.len() - 1;
    dirty[last] = 1;
    for bytes in [
        archive(&[dirty]),
        archive(&[pax(&[("size", "5")]), file("a", b"")]),
        archive(&[entry(Head::new(b'3', "a", 0), b"")]),
        file("a", b"x"),
        vec![],
        b"not an archive".to_vec(),
    ] {
        assert_eq!(read(&bytes).error, index(&bytes, 64).0.err());
    }
}

#[test]
fn a_failed_read_is_reported() {
    let mut indexer = Indexer::new(Limits::default(), 512);

    let error = indexer.step(1, |_, _| Err(io::Error::from_raw_os_error(5))).unwrap_err();

    assert!(matches!(error, Error::Io { errno: 5, .. }), "{error:?}");
}
