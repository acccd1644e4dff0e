//! The entries of an archive by name: what stands under each name first, and where links lead.
//!
//! An archive may have a million entries, so each takes some 40 bytes and its name, in which 64 hex digits take 32 bytes.
//! Where a link leads is found out once, however long the chain and however often it is asked for.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::{Entry, Fault, Kind};
use crate::error::{self, Error};

/// Names and link targets of all entries together; an archive of images has a few KiB of them.
const MOST_TEXT: usize = 256 << 20;
/// Hex digits of a SHA-256 digest, which the names of blobs have.
const DIGITS: usize = 64;
/// The bytes that they stand for.
const HALF: u16 = 32;
/// Where the digits begin in a name that has none.
const NO_DIGITS: u16 = u16::MAX;
/// Free places of the table, at least, out of so many.
const SPARSE: usize = 4;

/// Entries, each name once: the first of those that share one.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Names and targets, one behind the other.
    text: Vec<u8>,
    known: Vec<Known>,
    /// Places of `known` by the hashes of names, with linear probing; 0 is free, and all else one more than the place.
    table: Vec<u32>,
    hasher: RandomState,
    /// Of each link one more than the place where it leads; 0 is unknown.
    ends: Vec<u32>,
}

/// What is known of an entry; see [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number, from 0.
    pub index: u64,
    /// Its name within the archive.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of data.
    pub size: u64,
    /// Where its data begins.
    pub data_offset: u64,
    /// The name that a link leads to.
    pub target: Option<String>,
}

/// An entry, packed; its target stands behind its name.
#[derive(Debug)]
struct Known {
    size: u64,
    data_offset: u64,
    index: u32,
    text: u32,
    /// Bytes of the name as it is kept.
    name: u16,
    /// Where the name has 64 hex digits, of which half as many bytes are kept.
    digits: u16,
    target: u16,
    kind: Kind,
}

impl Catalogue {
    /// Take an entry. Return the number of the first entry with that name, if this is not the first.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<Option<u64>, Fault> {
        if self.table.len() < (self.known.len() + 1) * SPARSE / (SPARSE - 1) {
            self.grow();
        }
        let slot = self.slot(&entry.name);
        if let Some(place) = self.table[slot].checked_sub(1) {
            return Ok(Some(self.known[place as usize].index.into()));
        }
        let target = entry.target.as_deref().unwrap_or_default();
        let text = self.text.len();
        let digits = find_digits(&entry.name);
        if text + entry.name.len() + target.len() > MOST_TEXT {
            return Err(Fault::new(format!("names of at most {MOST_TEXT} bytes in all"), "more"));
        }
        let too_many = |_| Fault::new(format!("at most {} entries", u32::MAX), "more");
        self.known.push(Known {
            size: entry.size,
            data_offset: entry.data_offset,
            index: u32::try_from(entry.index).map_err(too_many)?,
            text: u32::try_from(text).expect("text is bounded"),
            name: length(&entry.name) - digits.map_or(0, |_| HALF),
            digits: digits.map_or(NO_DIGITS, |start| u16::try_from(start).expect("names are short")),
            target: length(target),
            kind: entry.kind,
        });
        let (before, rest) = entry.name.as_bytes().split_at(digits.unwrap_or(entry.name.len()));
        let (encoded, after) = rest.split_at(rest.len().min(DIGITS));
        self.text.extend_from_slice(before);
        self.text.extend(encoded.as_chunks::<2>().0.iter().map(|&[high, low]| value(high) << 4 | value(low)));
        self.text.extend_from_slice(after);
        self.text.extend_from_slice(target.as_bytes());
        self.table[slot] = number(self.known.len() - 1);
        Ok(None)
    }

    /// Return the first entry of that name.
    pub fn find(&self, name: &str) -> Option<Found> {
        self.place(name).map(|place| self.entry(place))
    }

    /// Return the entry where the links lead that begin at the entry of that name; no path is ever opened.
    ///
    /// What is no link is returned as it is. None: there is no entry of that name.
    pub fn resolve(&mut self, name: &str) -> error::Result<Option<Found>> {
        let Some(first) = self.place(name) else { return Ok(None) };
        self.ends.resize(self.known.len(), 0);
        let refuse = |expected: String, found: &str| {
            Err(Error::InvalidArchive { entry: Some(name.to_owned()), expected, found: found.to_owned(), offset: None })
        };
        let mut path = Vec::new();
        let mut place = first;
        loop {
            if let Some(end) = self.ends[place].checked_sub(1) {
                place = end as usize;
                break;
            }
            let Some(target) = self.target(place) else { break };
            let Some(next) = self.place(target) else {
                return refuse(format!("an entry {target:?} for its link"), "none");
            };
            path.push(place);
            if path.len() > self.known.len() {
                return refuse("a link that leads to a file".to_owned(), "a circle of links");
            }
            place = next;
        }
        for link in path {
            self.ends[link] = number(place);
        }
        Ok(Some(self.entry(place)))
    }

    /// Return regular files in a directory and those below it, in the order of the archive: of about `most` entries from the
    /// place `from` on; and the place to go on at, or none at the end.
    pub fn files_below(&self, directory: &str, from: usize, most: usize) -> (Vec<Found>, Option<usize>) {
        let end = from.saturating_add(most).min(self.known.len());
        let is_below = |found: &Found| found.name.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        let regular = (from.min(end)..end).filter(|place| self.known[*place].kind == Kind::Regular);
        let found = regular.map(|place| self.entry(place)).filter(is_below).collect();
        (found, (end < self.known.len()).then_some(end))
    }

    fn place(&self, name: &str) -> Option<usize> {
        if self.table.is_empty() {
            return None;
        }
        self.table[self.slot(name)].checked_sub(1).map(|place| place as usize)
    }

    /// Return the slot where the name is, or would be.
    fn slot(&self, name: &str) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = usize::try_from(self.hasher.hash_one(name) & mask as u64).expect("a mask fits");
        while let Some(place) = self.table[slot].checked_sub(1) {
            if self.is_name(place as usize, name.as_bytes()) {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 2).max(64);
        self.table.clear();
        self.table.resize(size, 0);
        for place in 0..self.known.len() {
            let slot = self.slot(&self.name(place));
            self.table[slot] = number(place);
        }
    }

    fn text(&self, start: usize, length: u16) -> &[u8] {
        &self.text[start..start + usize::from(length)]
    }

    /// The name as it is kept: what is before the digits, the digits as bytes, and what is behind them.
    fn parts(&self, place: usize) -> (&[u8], &[u8], &[u8]) {
        let known = &self.known[place];
        let kept = self.text(known.text as usize, known.name);
        if known.digits == NO_DIGITS {
            return (kept, &[], &[]);
        }
        let (before, rest) = kept.split_at(known.digits.into());
        let (bytes, after) = rest.split_at(DIGITS / 2);
        (before, bytes, after)
    }

    fn name(&self, place: usize) -> String {
        let (before, bytes, after) = self.parts(place);
        let name =
            before.iter().copied().chain(bytes.iter().flat_map(|&byte| digits(byte))).chain(after.iter().copied());
        String::from_utf8(name.collect()).expect("names are UTF-8")
    }

    fn is_name(&self, place: usize, name: &[u8]) -> bool {
        let (before, bytes, after) = self.parts(place);
        let Some(rest) = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)) else { return false };
        let (pairs, odd) = rest.as_chunks::<2>();
        odd.is_empty()
            && pairs.len() == bytes.len()
            && pairs.iter().zip(bytes).all(|(pair, &byte)| *pair == digits(byte))
    }

    fn target(&self, place: usize) -> Option<&str> {
        let known = &self.known[place];
        matches!(known.kind, Kind::Symlink | Kind::Hardlink).then(|| {
            let target = self.text(known.text as usize + usize::from(known.name), known.target);
            std::str::from_utf8(target).expect("names are UTF-8")
        })
    }

    fn entry(&self, place: usize) -> Found {
        let Known { size, data_offset, index, kind, .. } = self.known[place];
        Found {
            index: index.into(),
            name: self.name(place),
            kind,
            size,
            data_offset,
            target: self.target(place).map(str::to_owned),
        }
    }
}

/// One more than a place, so that 0 is none.
fn number(place: usize) -> u32 {
    u32::try_from(place + 1).expect("text is bounded, and names differ")
}

/// Where a name has 64 hex digits in a row first.
fn find_digits(name: &str) -> Option<usize> {
    let mut run = 0;
    name.bytes()
        .position(|byte| {
            run = if matches!(byte, b'0'..=b'9' | b'a'..=b'f') { run + 1 } else { 0 };
            run == DIGITS
        })
        .map(|last| last + 1 - DIGITS)
}

/// What a lower-case hex digit stands for.
fn value(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
}

/// The two lower-case hex digits of a byte.
fn digits(byte: u8) -> [u8; 2] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

fn length(name: &str) -> u16 {
    u16::try_from(name.len()).expect("the reader refuses longer ones")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, name: &str, target: Option<&str>) -> Entry {
        let kind = if target.is_some() { Kind::Symlink } else { Kind::Regular };
        let target = target.map(str::to_owned);
        let (size, header_offset, data_offset) = (index, index * 1024, index * 1024 + 512);
        Entry { index, name: name.to_owned(), kind, size, header_offset, data_offset, target, earlier: None }
    }

    fn found(index: u64, name: &str) -> Found {
        let Entry { index, name, kind, size, data_offset, target, .. } = entry(index, name, None);
        Found { index, name, kind, size, data_offset, target }
    }

    fn catalogue(entries: &[(&str, Option<&str>)]) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (index, (name, target)) in (0..).zip(entries) {
            catalogue.add(&entry(index, name, *target)).unwrap();
        }
        catalogue
    }

    #[test]
    fn a_name_is_what_stands_there_first() {
        let mut catalogue = catalogue(&[("a", None), ("b", None)]);

        assert_eq!(Ok(Some(0)), catalogue.add(&entry(2, "a", None)));
        assert_eq!(Some(found(0, "a")), catalogue.find("a"));
        assert_eq!(None, catalogue.find("c"));
        assert_eq!(None, Catalogue::default().find(""));
    }

    #[test]
    fn every_name_is_found_among_many() {
        let mut catalogue = Catalogue::default();
        let names: Vec<String> = (0..5000).map(|number| format!("{number}/{}", "x".repeat(number % 7))).collect();
        for (index, name) in (0..).zip(&names) {
            assert_eq!(Ok(None), catalogue.add(&entry(index, name, None)));
        }
        for (index, name) in (0..).zip(&names) {
            assert_eq!(Some(found(index, name)), catalogue.find(name));
        }
    }

    #[test]
    fn a_name_with_digits_is_itself_in_half_the_room() {
        let digits = "0123456789abcdef".repeat(4);
        let upper = digits.to_uppercase();
        let names = [
            format!("blobs/sha256/{digits}"),
            format!("{digits}.tar"),
            format!("a/{digits}{digits}/b"),
            format!("9{digits}"),
            format!("blobs/sha256/{upper}"),
            digits[1..].to_owned(),
            digits.clone(),
            format!("ä{digits}ö"),
        ];
        let entries: Vec<_> = names.iter().map(|name| (name.as_str(), Some("to"))).collect();
        let catalogue = catalogue(&entries);

        for (index, name) in (0..).zip(&names) {
            let found = catalogue.find(name).unwrap();
            assert_eq!((index, name, Some("to")), (found.index, &found.name, found.target.as_deref()));
            for other in [format!("{name}0"), format!("0{name}x"), name[..name.len() - 2].to_owned()] {
                assert_eq!(None, catalogue.find(&other));
            }
        }
        let all: usize = names.iter().map(|name| name.len() + "to".len()).sum();
        assert_eq!(all - 32 * (names.len() - 2), catalogue.text.len());
        assert_eq!(32, size_of::<Known>());
    }

    #[test]
    fn links_lead_to_a_file_or_are_refused() {
        let mut catalogue =
            catalogue(&[("a", Some("b")), ("b", Some("c")), ("c", None), ("x", Some("y")), ("o", Some("o"))]);
        let words = |result: error::Result<Option<Found>>| result.unwrap_err().to_string();

        for name in ["a", "b", "c", "a"] {
            assert_eq!(found(2, "c"), catalogue.resolve(name).unwrap().unwrap());
        }
        assert_eq!(None, catalogue.resolve("gone").unwrap());
        assert!(words(catalogue.resolve("x")).contains("an entry \"y\" for its link"));
        assert!(words(catalogue.resolve("o")).contains("a circle of links"));
    }

    /// Followed anew each time, these links would be a thousand million steps.
    #[test]
    fn a_chain_of_links_is_followed_once() {
        let mut catalogue = Catalogue::default();
        for index in 0..50_000 {
            let target = (index < 49_999).then(|| format!("l{}", index + 1));
            catalogue.add(&entry(index, &format!("l{index}"), target.as_deref())).unwrap();
        }
        for index in 0..50_000 {
            for name in ["l0".to_owned(), format!("l{index}")] {
                assert_eq!(49_999, catalogue.resolve(&name).unwrap().unwrap().index);
            }
        }
        assert!(catalogue.ends.iter().all(|end| matches!(end, 0 | 50_000)));
        assert_eq!(1, catalogue.ends.iter().filter(|end| **end == 0).count());
    }

    #[test]
    fn files_below_a_directory_come_in_parts() {
        let catalogue = catalogue(&[
            ("blobs/x/1", None),
            ("blob", None),
            ("blobs", None),
            ("blobs/x/2", Some("blob")),
            ("blobs/3", None),
        ]);
        let names = |entries: Vec<Found>| entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>();

        let (first, next) = catalogue.files_below("blobs", 0, 3);
        let (second, end) = catalogue.files_below("blobs", next.unwrap(), 3);

        assert_eq!((vec!["blobs/x/1".to_owned()], vec!["blobs/3".to_owned()]), (names(first), names(second)));
        assert_eq!((Some(3), None), (next, end));
    }
}
