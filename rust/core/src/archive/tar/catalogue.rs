//! The entries of an archive by name: the first entry of each name, and the targets of links.
//!
//! An archive may have a million entries, so each is packed into about 10 bytes plus its name. If a name contains 64 hex digits,
//! the digits take 32 bytes; the text before and after them is stored once and shared by all such names. The final target of a
//! link is computed once, however long the chain is, and kept.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::records::{Found, Place, Records};
use super::{Entry, Fault, Kind};
use crate::error::{self, Error};

/// The most bytes of all names and link targets together; an archive of images has a few KiB.
const MOST_TEXT: usize = 256 << 20;
/// The table grows when it has fewer than `SLOTS` slots for every `ENTRIES` entries: its load stays at 4/5 or below.
const SLOTS: usize = 5;
/// See [`SLOTS`].
const ENTRIES: usize = 4;

/// The entries of an archive by name; of several entries with the same name, only the first.
#[derive(Debug, Default)]
pub struct Catalogue {
    records: Records,
    /// The number of entries.
    count: usize,
    /// Bytes of names and targets.
    text: usize,
    /// Places of records by the hashes of names, with linear probing.
    table: Vec<Option<Place>>,
    hasher: RandomState,
}

impl Catalogue {
    /// Add an entry, unless there is one with the same name: then return the number of that earlier entry.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<Option<u64>, Fault> {
        if self.table.len() * ENTRIES < (self.count + 1) * SLOTS {
            self.grow();
        }
        let slot = self.slot(&entry.name);
        if let Some(place) = self.table[slot] {
            return Ok(Some(self.records.entry(place).index));
        }
        let text = self.text + entry.name.len() + entry.target.as_ref().map_or(0, String::len);
        if text > MOST_TEXT {
            return Err(Fault::new(format!("names of at most {MOST_TEXT} bytes in all"), "more"));
        }
        self.table[slot] = Some(self.records.add(entry)?);
        self.text = text;
        self.count += 1;
        Ok(None)
    }

    /// Return the number of names.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Return the first entry with that name.
    pub fn find(&self, name: &str) -> Option<Found> {
        self.place(name).map(|place| self.records.entry(place))
    }

    /// Follow the links from the entry with that name and return the entry at their end. No path is ever opened.
    ///
    /// An entry that is not a link is returned itself. Returns `None` if there is no entry with that name.
    pub fn resolve(&mut self, name: &str) -> error::Result<Option<Found>> {
        let Some(first) = self.place(name) else { return Ok(None) };
        let refuse = |expected: String, found: &str| {
            Err(Error::InvalidArchive { entry: Some(name.to_owned()), expected, found: found.to_owned(), offset: None })
        };
        let mut path = Vec::new();
        let mut place = first;
        loop {
            if let Some(end) = self.records.end(place) {
                place = end;
                break;
            }
            let Some(target) = self.records.entry(place).target else { break };
            let Some(next) = self.place(&target) else {
                return refuse(format!("an entry {target:?} for its link"), "none");
            };
            path.push(place);
            if path.len() > self.count {
                return refuse("a link that leads to a file".to_owned(), "a circle of links");
            }
            place = next;
        }
        for link in path {
            self.records.set_end(link, place);
        }
        Ok(Some(self.records.entry(place)))
    }

    /// Look at up to `most` entries, in the order of the archive, and return the regular files among them that are in a
    /// directory or below it. Also return the position where the next call continues, or `None` at the end.
    ///
    /// `from` is 0 or the position that the previous call returned.
    pub fn files_below(&self, directory: &str, from: usize, most: usize) -> (Vec<Found>, Option<usize>) {
        let is_below = |found: &Found| found.name.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        let mut found = Vec::new();
        let mut next = self.records.at(from);
        for _ in 0..most {
            let Some(place) = next else { break };
            let (entry, after) = self.records.read(place);
            if entry.kind == Kind::Regular && is_below(&entry) {
                found.push(entry);
            }
            next = self.records.at(after);
        }
        (found, next.map(Place::position))
    }

    fn place(&self, name: &str) -> Option<Place> {
        if self.table.is_empty() { None } else { self.table[self.slot(name)] }
    }

    /// Return the slot that holds the name, or the free slot where it belongs.
    fn slot(&self, name: &str) -> usize {
        let mut slot = self.home(name.as_bytes());
        while let Some(place) = self.table[slot] {
            if self.records.is_name(place, name) {
                break;
            }
            slot = (slot + 1) % self.table.len();
        }
        slot
    }

    /// Return the slot where the search for a name begins.
    fn home(&self, name: &[u8]) -> usize {
        let part = (u128::from(self.hasher.hash_one(name)) * self.table.len() as u128) >> 64;
        usize::try_from(part).expect("it is below the length")
    }

    /// Make room for a quarter more entries, and at least 64.
    fn grow(&mut self) {
        let size = (self.count + self.count / 4 + 64) * SLOTS / ENTRIES;
        self.table.clear();
        self.table.reserve_exact(size);
        self.table.resize(size, None);
        let mut next = self.records.at(0);
        while let Some(place) = next {
            let (entry, after) = self.records.read(place);
            // All names in the table differ, so this entry gets the first free slot.
            let mut slot = self.home(entry.name.as_bytes());
            while self.table[slot].is_some() {
                slot = (slot + 1) % size;
            }
            self.table[slot] = Some(place);
            next = self.records.at(after);
        }
    }
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
    }

    #[test]
    fn a_blob_takes_few_bytes_and_many_forms_of_names_are_told_apart() {
        let mut catalogue = Catalogue::default();
        let name = |number: u64| format!("blobs/sha256/{number:064x}");
        for index in 0..40_000 {
            catalogue.add(&entry(index, &name(index), None)).unwrap();
        }
        assert!(catalogue.records.bytes() < 44 * 40_000);
        assert!(catalogue.table.capacity() * size_of::<Option<Place>>() < 7 * 40_000);
        for form in 0..40 {
            catalogue.add(&entry(40_000 + form, &format!("{form}/{:064x}/{form}", 7), Some("to"))).unwrap();
        }
        for form in 0..40 {
            let found = catalogue.find(&format!("{form}/{:064x}/{form}", 7)).unwrap();
            assert_eq!((40_000 + form, Some("to")), (found.index, found.target.as_deref()));
        }
        assert_eq!(Some(found(39_999, &name(39_999))), catalogue.find(&name(39_999)));
        assert_eq!(None, catalogue.find(&name(40_000)));
    }

    #[test]
    fn every_number_comes_back() {
        let mut catalogue = Catalogue::default();
        for (index, number) in (0..).zip([0, 127, 128, 1 << 35, u64::MAX >> 1, u64::MAX]) {
            let name = index.to_string();
            let one = Entry { size: number, data_offset: number, ..entry(index, &name, None) };
            catalogue.add(&one).unwrap();
            let found = catalogue.find(&name).unwrap();
            assert_eq!((number, number), (found.size, found.data_offset));
        }
    }

    #[test]
    fn files_come_in_order_across_blocks() {
        let mut catalogue = Catalogue::default();
        for index in 0..1000 {
            catalogue.add(&entry(index, &format!("d/{index}{}", "x".repeat(4000)), None)).unwrap();
        }
        let (mut from, mut numbers) = (Some(0), Vec::new());
        while let Some(start) = from {
            let (found, next) = catalogue.files_below("d", start, 7);
            numbers.extend(found.into_iter().map(|found| found.index));
            from = next;
        }
        assert_eq!((0..1000).collect::<Vec<_>>(), numbers);
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

    /// Without the stored ends, following these links would take a thousand million steps.
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
        let last = catalogue.place("l49999");
        let mut ends = (0..50_000).map(|index| catalogue.records.end(catalogue.place(&format!("l{index}")).unwrap()));
        assert!(ends.by_ref().take(49_999).all(|end| end == last));
        assert_eq!(Some(None), ends.next());
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
        assert_eq!(None, end);
    }
}
