//! The reader takes the bytes of an archive in pieces of any size and returns entries and their data. The result does not depend
//! on how the input is cut.

use std::mem;

use super::field::LARGEST;
use super::header::{Announced, Header, has_sum, parse, raw_name};
use super::merge::Extended;
use super::name::resolve;
use super::{BLOCK, Catalogue, Entry, Fault, Kind, Limits, shown};
use crate::error::{Error, Result};

/// The most zero bytes after the end: programs pad archives with zero blocks, but never with more than this.
const MOST_TRAILING: u64 = 16 << 20;

/// The expected input, for the error about input that does not begin like an archive.
const TAR: &str = "a tar archive, plain or in gzip, zstd or xz";

/// The next item of an archive.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The next entry; its data follows.
    Entry(Entry),
    /// The next bytes of the data of the current entry, never empty.
    Data(&'a [u8]),
    /// The end of the archive; only zero blocks may follow.
    End,
}

/// A strict reader of one archive. It keeps one header, the extended headers of one entry, and the catalogue.
pub struct Reader {
    limits: Limits,
    /// Offset of the next input byte in the archive.
    offset: u64,
    block: [u8; BLOCK],
    filled: usize,
    state: State,
    extended: Extended,
    /// Bytes in the extended headers of the next entry.
    extended_bytes: u64,
    /// Offset of the first header of the next entry.
    begin: Option<u64>,
    /// The last entry's name, for messages about what follows it.
    last: Option<String>,
    entries: u64,
    global: u64,
    catalogue: Catalogue,
}

enum State {
    Header,
    Extended {
        announced: Announced,
        left: u64,
        data: Vec<u8>,
        padding: u64,
    },
    Data {
        left: u64,
        padding: u64,
    },
    Padding {
        left: u64,
    },
    /// The first of the two zero blocks at the end has been read; the second must follow.
    Ending,
    Ended {
        trailing: u64,
    },
    Failed(Error),
}

impl Reader {
    /// Return a reader at the beginning of an archive.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            offset: 0,
            block: [0; BLOCK],
            filled: 0,
            state: State::Header,
            extended: Extended::default(),
            extended_bytes: 0,
            begin: None,
            last: None,
            entries: 0,
            global: 0,
            catalogue: Catalogue::default(),
        }
    }

    /// The offset in the archive of the next byte to feed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The entries so far, by name.
    pub fn catalogue(&mut self) -> &mut Catalogue {
        &mut self.catalogue
    }

    /// Consume bytes from the front of `input` up to the next event. Returns `None` when all of `input` is consumed and more
    /// is needed.
    ///
    /// After an error every further call fails with the same error.
    pub fn feed<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>> {
        let event = self.advance(input);
        if let Err(error) = &event {
            self.state = State::Failed(error.clone());
        }
        event
    }

    /// Skip the rest of the current entry's data. Return the number of bytes that the caller must not feed.
    pub fn skip(&mut self) -> u64 {
        let State::Data { left, padding } = self.state else {
            return 0;
        };
        self.offset += left;
        self.state = State::Padding { left: padding };
        left
    }

    /// Declare the end of the input. Fails if the archive is incomplete.
    pub fn finish(&self) -> Result<()> {
        let expected = match &self.state {
            State::Ended { .. } => return Ok(()),
            State::Failed(error) => return Err(error.clone()),
            State::Data { left, .. } => format!("{left} more bytes of data"),
            State::Extended { left, .. } => format!("{left} more bytes of an extended header"),
            State::Padding { left } => format!("{left} more bytes of padding"),
            State::Header if self.offset < BLOCK as u64 => {
                let found = format!("the end of the input after {} bytes", self.offset);
                return Err(Error::InvalidArchive { entry: None, expected: TAR.to_owned(), found, offset: Some(0) });
            }
            State::Header | State::Ending => "another entry, or two zero blocks for the end".to_owned(),
        };
        Err(self.error(self.last.clone(), Fault::new(expected, "the end of the input")))
    }

    /// Return the error for a fault at the current position.
    pub(super) fn error(&self, entry: Option<String>, fault: Fault) -> Error {
        let offset = self.begin.unwrap_or(self.offset);
        Error::InvalidArchive { entry, expected: fault.expected, found: fault.found, offset: Some(offset) }
    }

    /// The last entry's name.
    pub(super) fn last(&self) -> Option<String> {
        self.last.clone()
    }

    fn advance<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>> {
        loop {
            let event = match &mut self.state {
                State::Failed(error) => return Err(error.clone()),
                State::Data { left, padding } => {
                    if *left == 0 {
                        self.state = State::Padding { left: *padding };
                        continue;
                    }
                    let data = take(input, &mut self.offset, *left);
                    *left -= data.len() as u64;
                    (!data.is_empty()).then_some(Event::Data(data))
                }
                State::Extended { left, data, .. } if *left > 0 => {
                    let more = take(input, &mut self.offset, *left);
                    *left -= more.len() as u64;
                    data.extend_from_slice(more);
                    if more.is_empty() {
                        return Ok(None);
                    }
                    continue;
                }
                State::Extended { .. } => {
                    self.keep_extended()?;
                    continue;
                }
                State::Padding { left } if *left > 0 => {
                    let padding = take(input, &mut self.offset, *left);
                    *left -= padding.len() as u64;
                    if padding.is_empty() {
                        return Ok(None);
                    }
                    self.zeros(padding, self.last.clone(), "zero bytes up to the next header")?;
                    continue;
                }
                State::Padding { .. } => {
                    self.state = State::Header;
                    continue;
                }
                State::Header | State::Ending => {
                    if !self.fill(input) {
                        return Ok(None);
                    }
                    let Some(event) = self.block()? else { continue };
                    Some(event)
                }
                State::Ended { .. } => return self.trailing(input).map(|()| None),
            };
            return Ok(event);
        }
    }

    /// Fill the current block from the input. Return whether it is complete.
    fn fill(&mut self, input: &mut &[u8]) -> bool {
        let missing = (BLOCK - self.filled) as u64;
        let part = take(input, &mut self.offset, missing);
        self.block[self.filled..self.filled + part.len()].copy_from_slice(part);
        self.filled += part.len();
        self.filled == BLOCK
    }

    /// Handle a complete block at a position where a header is expected.
    fn block(&mut self) -> Result<Option<Event<'static>>> {
        self.filled = 0;
        let begin = self.offset - BLOCK as u64;
        if self.block.iter().all(|byte| *byte == 0) {
            return self.zero_block();
        }
        if matches!(self.state, State::Ending) {
            let fault = Fault::new("a second zero block at the end", shown(raw_name(&self.block)));
            return Err(self.error(None, fault));
        }
        self.begin.get_or_insert(begin);
        if begin == 0 && !has_sum(&self.block) {
            return Err(self.error(None, Fault::new(TAR, "other data: bad header checksum")));
        }
        let header = parse(&self.block).map_err(|fault| self.named(raw_name(&self.block), fault))?;
        self.extended.check(header.announced).map_err(|fault| self.named(&header.name, fault))?;
        match header.announced {
            Announced::Entry(kind) => self.entry(kind, header).map(Event::Entry).map(Some),
            announced => self.begin_extended(announced, &header).map(|()| None),
        }
    }

    fn zero_block(&mut self) -> Result<Option<Event<'static>>> {
        if !self.extended.is_empty() {
            let fault = Fault::new("an entry after its extended header", "the end of the archive");
            return Err(self.named(b"", fault));
        }
        self.begin = None;
        if matches!(self.state, State::Ending) {
            self.state = State::Ended { trailing: 0 };
            return Ok(Some(Event::End));
        }
        self.state = State::Ending;
        Ok(None)
    }

    fn begin_extended(&mut self, announced: Announced, header: &Header) -> Result<()> {
        if announced == Announced::Global {
            self.global += 1;
            self.check_count()?;
        }
        // Only data counts. `Extended::check` allows few extended headers for an entry, and global ones count as entries.
        self.extended_bytes = self.extended_bytes.saturating_add(header.size);
        if self.extended_bytes > self.limits.header_bytes {
            return Err(Error::LimitExceeded {
                name: lossy(&header.name).unwrap_or_else(|| "archive".to_owned()),
                limit: "header_bytes",
                allowed: self.limits.header_bytes,
                found: Some(self.extended_bytes),
            });
        }
        let padding = padding(header.size);
        self.state = State::Extended { announced, left: header.size, data: Vec::new(), padding };
        Ok(())
    }

    fn keep_extended(&mut self) -> Result<()> {
        let State::Extended { announced, data, padding, .. } = mem::replace(&mut self.state, State::Header) else {
            unreachable!("called in this state only");
        };
        self.extended.keep(announced, &data).map_err(|fault| self.named(b"", fault))?;
        if announced == Announced::Global {
            (self.begin, self.extended_bytes) = (None, 0);
        }
        self.state = State::Padding { left: padding };
        Ok(())
    }

    fn entry(&mut self, kind: Kind, header: Header) -> Result<Entry> {
        let index = self.entries;
        self.entries += 1;
        self.check_count()?;
        let best = self.extended.name_of(&header.name).to_vec();
        let extended = mem::take(&mut self.extended);
        let agreed = extended.agree(kind, header).map_err(|fault| self.named(&best, fault))?;
        let (name, target) = resolve(&agreed).map_err(|fault| self.named(&best, fault))?;
        let (size, padding) = (agreed.size, padding(agreed.size));
        if size.checked_add(padding + self.offset).is_none_or(|end| end > LARGEST) {
            let fault = Fault::new(format!("an end before byte {LARGEST}"), format!("{size} bytes of data"));
            return Err(self.named(&best, fault));
        }
        let (header_offset, data_offset) = (self.begin.unwrap_or(self.offset), self.offset);
        let mut entry = Entry { index, name, kind, size, header_offset, data_offset, target, earlier: None };
        entry.earlier = self.catalogue.add(&entry).map_err(|fault| self.named(&best, fault))?;
        self.state = State::Data { left: size, padding };
        (self.extended_bytes, self.begin) = (0, None);
        self.last = Some(entry.name.clone());
        Ok(entry)
    }

    fn check_count(&self) -> Result<()> {
        let found = self.entries + self.global;
        if found <= self.limits.entries {
            return Ok(());
        }
        let (name, allowed) = ("archive".to_owned(), self.limits.entries);
        Err(Error::LimitExceeded { name, limit: "entries", allowed, found: None })
    }

    fn trailing(&mut self, input: &mut &[u8]) -> Result<()> {
        let State::Ended { trailing } = &mut self.state else { unreachable!("called in this state only") };
        let rest = take(input, &mut self.offset, MOST_TRAILING - *trailing);
        *trailing += rest.len() as u64;
        self.zeros(rest, None, "nothing but zero bytes after the end")?;
        if input.is_empty() {
            return Ok(());
        }
        Err(self.error(None, Fault::new(format!("at most {MOST_TRAILING} bytes after the end"), "more")))
    }

    /// Refuse bytes that are not zero. The error reports the first of them, so it does not depend on how the input is cut.
    fn zeros(&self, taken: &[u8], entry: Option<String>, expected: &str) -> Result<()> {
        let Some(at) = taken.iter().position(|byte| *byte != 0) else {
            return Ok(());
        };
        let offset = self.offset - (taken.len() - at) as u64;
        let (expected, found) = (expected.to_owned(), shown(&taken[at..=at]));
        Err(Error::InvalidArchive { entry, expected, found, offset: Some(offset) })
    }

    /// Return the error for a fault in the entry whose headers are being read; `header` is the name in its last header.
    fn named(&self, header: &[u8], fault: Fault) -> Error {
        self.error(lossy(self.extended.name_of(header)), fault)
    }
}

/// The number of padding bytes after `size` bytes of data.
pub(super) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Take up to `most` bytes from the front of the input.
fn take<'a>(input: &mut &'a [u8], offset: &mut u64, most: u64) -> &'a [u8] {
    let count = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    let (taken, rest) = input.split_at(count);
    *input = rest;
    *offset += count as u64;
    taken
}

/// Return a name for a message, shortened; `None` if it is empty.
fn lossy(name: &[u8]) -> Option<String> {
    const MOST: usize = 300;
    let text = String::from_utf8_lossy(&name[..name.len().min(MOST)]).into_owned();
    (!text.is_empty()).then_some(text)
}
