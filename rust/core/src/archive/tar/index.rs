//! An index of an archive that can be read at any offset: it reads headers and skips data.

use std::io;

use super::{Catalogue, Entry, Event, Fault, Limits, Reader};
use crate::error::{Error, Result};

/// Bytes of one read. A read contains small entries with their data; the data of large entries is skipped.
const READ: usize = 64 << 10;

/// All entries of an archive.
pub type Index = Vec<Entry>;

/// Reads the headers of an archive in steps, so that no step takes long.
pub struct Indexer {
    reader: Reader,
    size: u64,
    buffer: Vec<u8>,
    done: bool,
}

impl Indexer {
    /// Return an indexer of an archive of `size` bytes.
    pub fn new(limits: Limits, size: u64) -> Self {
        Self { reader: Reader::new(limits), size, buffer: Vec::new(), done: false }
    }

    /// The entries so far, by name.
    pub fn catalogue(&mut self) -> &mut Catalogue {
        self.reader.catalogue()
    }

    /// Whether the end of the archive has been read.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Return the next entries, about `most`; an empty list if no entry is left. `read_at` reads bytes at an offset into
    /// a buffer. It may read fewer bytes than the buffer has room for; 0 means the end of the file.
    pub fn step(
        &mut self,
        most: usize,
        mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        while !self.done && entries.len() < most {
            self.buffer.resize(READ, 0);
            let read = read_at(&mut self.buffer, self.reader.offset()).map_err(|error| Error::Io {
                errno: error.raw_os_error().unwrap_or(libc::EIO),
                path: None,
                operation: "read",
            })?;
            if read == 0 {
                self.reader.finish()?;
                self.done = true;
            }
            self.take(read, &mut entries)?;
        }
        Ok(entries)
    }

    /// Parse the first `read` bytes of the buffer and append their entries.
    fn take(&mut self, read: usize, entries: &mut Vec<Entry>) -> Result<()> {
        let mut input = &self.buffer[..read];
        while let Some(event) = self.reader.feed(&mut input)? {
            let Event::Entry(entry) = event else { continue };
            let left = usize::try_from(self.reader.skip()).unwrap_or(usize::MAX);
            if self.reader.offset() > self.size {
                let found = format!("{} before the end", self.size.saturating_sub(entry.data_offset));
                return Err(self
                    .reader
                    .error(self.reader.last(), Fault::new(format!("{} bytes of data", entry.size), found)));
            }
            input = &input[left.min(input.len())..];
            entries.push(entry);
        }
        Ok(())
    }
}
