//! Archives made by hand, right or wrong as a test wants them, and a reader of whole ones.

use steelyard_core::archive::tar::{BLOCK, END, Entry, Event, Limits, Reader};
use steelyard_core::error::{Error, Result};

/// A header block with every field open to be set; `block` computes the sum.
#[derive(Clone)]
pub struct Head(pub [u8; BLOCK]);

impl Head {
    pub fn new(flag: u8, name: &str, size: u64) -> Self {
        let mut head = Self([0; BLOCK]);
        head.put(0, name.as_bytes());
        head.put(100, b"0000644\0").put(108, b"0000000\0").put(116, b"0000000\0");
        head.put(124, format!("{size:011o}\0").as_bytes()).put(136, b"00000000000\0");
        head.put(257, b"ustar\x0000");
        head.0[156] = flag;
        head
    }

    pub fn gnu(flag: u8, name: &str, size: u64) -> Self {
        let mut head = Self::new(flag, name, size);
        head.put(257, b"ustar  \0");
        head
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn with(mut self, at: usize, bytes: &[u8]) -> Self {
        self.put(at, bytes);
        self
    }

    pub fn target(self, target: &str) -> Self {
        self.with(157, target.as_bytes())
    }

    pub fn block(mut self) -> Vec<u8> {
        self.put(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        self.0.to_vec()
    }
}

/// A header and its data, filled up.
pub fn entry(head: Head, data: &[u8]) -> Vec<u8> {
    let mut bytes = head.block();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// A regular file.
pub fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(Head::new(b'0', name, data.len() as u64), data)
}

/// An extended header of PAX.
pub fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let data: String = records.iter().map(|(key, value)| record(key, value)).collect();
    entry(Head::new(b'x', "PaxHeaders/x", data.len() as u64), data.as_bytes())
}

pub fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let digits = (1..5).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap();
    format!("{}{rest}", rest.len() + digits)
}

/// A long name or link target of GNU.
pub fn long(flag: u8, text: &str) -> Vec<u8> {
    entry(Head::gnu(flag, "././@LongLink", text.len() as u64 + 1), format!("{text}\0").as_bytes())
}

/// An archive of these parts, with its end.
pub fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [&parts.concat(), &END[..]].concat()
}

/// Everything in an archive: the entries with their data, and the error that ended the reading.
#[derive(Debug, PartialEq, Eq)]
pub struct Contents {
    pub entries: Vec<(Entry, Vec<u8>)>,
    pub error: Option<Error>,
}

/// Read an archive that comes in pieces of these sizes, the last of them again and again.
pub fn read_cut(bytes: &[u8], limits: Limits, cuts: &[usize]) -> Contents {
    let mut entries = Vec::new();
    let error = read_into(bytes, limits, cuts, &mut entries).err();
    Contents { entries, error }
}

fn read_into(mut bytes: &[u8], limits: Limits, cuts: &[usize], entries: &mut Vec<(Entry, Vec<u8>)>) -> Result<()> {
    let mut reader = Reader::new(limits);
    let mut cuts = cuts.iter().copied().chain(std::iter::repeat(cuts.last().copied().unwrap_or(usize::MAX)));
    while !bytes.is_empty() {
        let cut = cuts.next().unwrap_or(1).clamp(1, bytes.len());
        let (mut piece, rest) = bytes.split_at(cut);
        bytes = rest;
        while let Some(event) = reader.feed(&mut piece)? {
            match event {
                Event::Entry(entry) => entries.push((entry, Vec::new())),
                Event::Data(data) => entries.last_mut().unwrap().1.extend_from_slice(data),
                Event::End => {}
            }
        }
        assert!(piece.is_empty(), "the reader left something without giving an event");
    }
    reader.finish()
}

pub fn read(bytes: &[u8]) -> Contents {
    read_cut(bytes, Limits::default(), &[])
}

/// The entries of an archive that must be right.
pub fn entries(bytes: &[u8]) -> Vec<(Entry, Vec<u8>)> {
    let contents = read(bytes);
    assert_eq!(None, contents.error);
    contents.entries
}

/// The refusal of an archive: the entry that it names, what was expected, what was found.
pub fn refusal(bytes: &[u8]) -> (Option<String>, String, String) {
    match read(bytes).error {
        Some(Error::InvalidArchive { entry, expected, found, offset: Some(_) }) => (entry, expected, found),
        other => panic!("expected InvalidArchive, found {other:?}"),
    }
}
