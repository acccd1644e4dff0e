//! Compact storage for entries: records are packed one after another into large blocks, so they are not moved or copied as the
//! archive grows.

use std::num::NonZeroU32;

use super::{Entry, Fault, Kind};

/// Bytes of every block except the first. A record has at most 9 KiB and lies within one block. The system provides the memory
/// of a block page by page, as it is used. Allocators return so large a block to the system when it is dropped, unlike a small one.
const BLOCK: usize = 64 << 20;
/// Bytes of the first block, which is allocated as it grows.
const FIRST: usize = 1 << 20;
/// Hex digits of a SHA-256 digest, which is part of the name of a blob.
const DIGITS: usize = 64;
/// The most pairs of a text before the digits and a text after them: a record has four bits for the number of its pair.
const MOST_AROUND: usize = 15;
/// The kinds, in the order of their codes.
const KINDS: [Kind; 4] = [Kind::Regular, Kind::Directory, Kind::Symlink, Kind::Hardlink];
/// Bytes for the place where the chain of a link ends.
const END: usize = 4;

/// The records of entries.
///
/// A record consists of one byte for the kind and the form of the name; for a link, four bytes for the place where its chain
/// ends; three numbers of variable length; the name; and for a link, its target.
#[derive(Debug, Default)]
pub(super) struct Records {
    blocks: Vec<Vec<u8>>,
    around: Vec<(String, String)>,
}

/// An entry in the catalogue; see [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number, from 0.
    pub index: u64,
    /// Its name within the archive.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Bytes of data.
    pub size: u64,
    /// Offset of its data.
    pub data_offset: u64,
    /// The target of a link: a name within the archive.
    pub target: Option<String>,
}

/// The place of a record: its position plus one. Positions count every block as [`BLOCK`] bytes, full or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(NonZeroU32);

impl Place {
    pub(super) fn position(self) -> usize {
        self.0.get() as usize - 1
    }

    fn new(position: usize) -> Option<Self> {
        u32::try_from(position + 1).ok().and_then(NonZeroU32::new).map(Self)
    }
}

/// The stored form of a name.
enum Name<'a> {
    Whole(&'a [u8]),
    Digits(&'a (String, String), &'a [u8]),
}

impl Records {
    /// Add an entry.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<Place, Fault> {
        let mut record = Vec::with_capacity(64 + entry.name.len());
        let kind = KINDS.iter().position(|kind| *kind == entry.kind).expect("all kinds are there");
        let digits = find_digits(&entry.name).and_then(|start| {
            let (before, rest) = entry.name.split_at(start);
            let (digits, after) = rest.split_at(DIGITS);
            self.form(before, after).map(|form| (form, digits))
        });
        let form = digits.map_or(0, |(form, _)| form);
        record.push(u8::try_from(kind | form << 4).expect("both are below 16"));
        if is_link(entry.kind) {
            record.extend([0; END]);
        }
        for number in [entry.index, entry.size, entry.data_offset] {
            put(&mut record, number);
        }
        if let Some((_, digits)) = digits {
            record
                .extend(digits.as_bytes().as_chunks::<2>().0.iter().map(|&[high, low]| value(high) << 4 | value(low)));
        } else {
            put_text(&mut record, &entry.name);
        }
        if is_link(entry.kind) {
            put_text(&mut record, entry.target.as_deref().unwrap_or_default());
        }
        self.append(&record)
    }

    fn append(&mut self, record: &[u8]) -> Result<Place, Fault> {
        let most = if self.blocks.len() < 2 { FIRST } else { BLOCK };
        if self.blocks.last().is_none_or(|block| block.len() + record.len() > most) {
            let room = if self.blocks.is_empty() { 0 } else { BLOCK };
            self.blocks.push(Vec::with_capacity(room));
        }
        let number = self.blocks.len() - 1;
        let block = &mut self.blocks[number];
        let place = Place::new(number * BLOCK + block.len());
        let place = place.ok_or_else(|| Fault::new(format!("entries of at most {} bytes in all", u32::MAX), "more"))?;
        block.extend_from_slice(record);
        Ok(place)
    }

    /// Return the number, from 1, of the pair of texts before and after the digits of a name. `None` if it would be a new
    /// pair and there is no number left.
    fn form(&mut self, before: &str, after: &str) -> Option<usize> {
        let known = self.around.iter().position(|(one, other)| one == before && other == after);
        known
            .or_else(|| {
                (self.around.len() < MOST_AROUND).then(|| {
                    self.around.push((before.to_owned(), after.to_owned()));
                    self.around.len() - 1
                })
            })
            .map(|number| number + 1)
    }

    /// Return the place of the first record at or after a position, which must be the start or the end of a record.
    pub(super) fn at(&self, position: usize) -> Option<Place> {
        let block = self.blocks.get(position / BLOCK)?;
        if position % BLOCK < block.len() {
            return Place::new(position);
        }
        let next = position / BLOCK + 1;
        (next < self.blocks.len()).then(|| Place::new(next * BLOCK)).flatten()
    }

    /// The entry at a place.
    pub(super) fn entry(&self, place: Place) -> Found {
        self.read(place).0
    }

    /// The entry at a place, and the position of its end.
    pub(super) fn read(&self, place: Place) -> (Found, usize) {
        let record = self.record(place);
        let (kind, [index, size, data_offset], name, mut rest) = self.parts(record);
        let name = match name {
            Name::Whole(name) => text(name).to_owned(),
            Name::Digits((before, after), bytes) => {
                let digits: String = bytes.iter().flat_map(|&byte| digits(byte)).map(char::from).collect();
                format!("{before}{digits}{after}")
            }
        };
        let target = is_link(kind).then(|| text(take_text(&mut rest)).to_owned());
        (Found { index, name, kind, size, data_offset, target }, place.position() + record.len() - rest.len())
    }

    /// Whether the entry at a place has this name.
    pub(super) fn is_name(&self, place: Place, name: &str) -> bool {
        match self.parts(self.record(place)).2 {
            Name::Whole(kept) => kept == name.as_bytes(),
            Name::Digits((before, after), bytes) => {
                let rest = name.strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(after.as_str()));
                rest.is_some_and(|rest| {
                    let (pairs, odd) = rest.as_bytes().as_chunks::<2>();
                    let mut both = pairs.iter().zip(bytes);
                    odd.is_empty() && pairs.len() == bytes.len() && both.all(|(pair, &byte)| *pair == digits(byte))
                })
            }
        }
    }

    /// Return the place where the chain of the link at a place ends, if it is known.
    pub(super) fn end(&self, place: Place) -> Option<Place> {
        let record = self.record(place);
        is_link(kind_of(record[0])).then(|| {
            let end = record[1..].first_chunk::<END>().expect("a link has them");
            NonZeroU32::new(u32::from_ne_bytes(*end)).map(Place)
        })?
    }

    /// Store the place where the chain of a link ends.
    pub(super) fn set_end(&mut self, link: Place, end: Place) {
        let position = link.position();
        let start = position % BLOCK + 1;
        self.blocks[position / BLOCK][start..start + END].copy_from_slice(&end.0.get().to_ne_bytes());
    }

    /// The bytes of all records.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// The bytes from the start of a record to the end of its block.
    fn record(&self, place: Place) -> &[u8] {
        let position = place.position();
        &self.blocks[position / BLOCK][position % BLOCK..]
    }

    /// The kind, the numbers and the name of a record, and the bytes after the name.
    fn parts<'a>(&'a self, record: &'a [u8]) -> (Kind, [u64; 3], Name<'a>, &'a [u8]) {
        let (kind, form) = (kind_of(record[0]), usize::from(record[0] >> 4));
        let mut rest = &record[if is_link(kind) { 1 + END } else { 1 }..];
        let numbers = [0; 3].map(|_: u8| take(&mut rest));
        let name = match form.checked_sub(1) {
            None => Name::Whole(take_text(&mut rest)),
            Some(number) => {
                let (bytes, after) = rest.split_at(DIGITS / 2);
                rest = after;
                Name::Digits(&self.around[number], bytes)
            }
        };
        (kind, numbers, name, rest)
    }
}

fn kind_of(first: u8) -> Kind {
    KINDS[usize::from(first & 15)]
}

fn is_link(kind: Kind) -> bool {
    matches!(kind, Kind::Symlink | Kind::Hardlink)
}

/// Append a number: seven bits per byte, the lowest bits first; the top bit is set in all bytes but the last.
fn put(record: &mut Vec<u8>, mut number: u64) {
    while number > 127 {
        record.push(128 | u8::try_from(number & 127).expect("seven bits"));
        number >>= 7;
    }
    record.push(u8::try_from(number).expect("seven bits"));
}

fn take(rest: &mut &[u8]) -> u64 {
    let last = rest.iter().position(|byte| *byte < 128).expect("a number ends");
    let (bytes, after) = rest.split_at(last + 1);
    *rest = after;
    bytes.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 127))
}

fn put_text(record: &mut Vec<u8>, text: &str) {
    put(record, text.len() as u64);
    record.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::try_from(take(rest)).expect("it was one");
    let (text, after) = rest.split_at(length);
    *rest = after;
    text
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("names are UTF-8")
}

/// Return the position of the first 64 consecutive hex digits in a name.
fn find_digits(name: &str) -> Option<usize> {
    let mut run = 0;
    name.bytes()
        .position(|byte| {
            run = if matches!(byte, b'0'..=b'9' | b'a'..=b'f') { run + 1 } else { 0 };
            run == DIGITS
        })
        .map(|last| last + 1 - DIGITS)
}

/// The value of a lower-case hex digit.
fn value(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}

/// The two lower-case hex digits of a byte.
fn digits(byte: u8) -> [u8; 2] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}
