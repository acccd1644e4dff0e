//! `TarReader`, `TarIndexer` and `tar_layout`: strict reading of tar archives, and the layout of written ones.

use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use steelyard_core::archive::tar::{Entry, Event, Found, Indexer, Kind, Layout, Limits, Member, Place, Reader};
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::sys::{Fd, ProcessBound, outside};

use crate::buffer::Input;
use crate::descriptor::Descriptor;
use crate::errors::{Failure, Result};

/// index, name, kind, size, data offset, target, index of the first entry with the same name
type EntryRow = (u64, String, &'static str, u64, u64, Option<String>, Option<u64>);
/// An entry, or the start and end of data within the fed piece, or neither at the end of the archive.
type EventRow = (Option<EntryRow>, Option<(usize, usize)>);
/// headers, offset of the headers, offset of the data
type PlaceRow<'py> = (Bound<'py, PyBytes>, u64, u64);

fn entry_row(entry: Entry) -> EntryRow {
    let Entry { index, name, kind, size, data_offset, target, earlier, .. } = entry;
    (index, name, kind.name(), size, data_offset, target, earlier)
}

fn found_row(found: Found) -> EntryRow {
    let Found { index, name, kind, size, data_offset, target } = found;
    (index, name, kind.name(), size, data_offset, target, None)
}

/// A strict reader of an archive that is fed in pieces.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct TarReader(ProcessBound<Mutex<Reader>>);

impl TarReader {
    fn reader(&self) -> CoreResult<MutexGuard<'_, Reader>> {
        Ok(self.0.get(|| "archive".to_owned())?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl TarReader {
    #[new]
    #[pyo3(signature = (*, entries, header_bytes))]
    fn new(entries: u64, header_bytes: u64) -> Self {
        Self(ProcessBound::new(Mutex::new(Reader::new(Limits { entries, header_bytes }))))
    }

    /// Read `data` from `start` on, up to the next event. Returns the position where it stopped, and the event if there was one.
    #[pyo3(signature = (data, start, /))]
    fn feed(&self, py: Python<'_>, data: Input<'_>, start: usize) -> Result<(usize, Option<EventRow>)> {
        let all = data.as_slice();
        let mut input = all.get(start..).unwrap_or_default();
        py.detach(|| {
            let event = self.reader()?.feed(&mut input)?;
            let stop = all.len() - input.len();
            let row = event.map(|event| match event {
                Event::Entry(entry) => (Some(entry_row(entry)), None),
                Event::Data(bytes) => (None, Some((stop - bytes.len(), stop))),
                Event::End => (None, None),
            });
            Ok((stop, row))
        })
        .map_err(Failure::Core)
    }

    fn finish(&self) -> Result<()> {
        self.reader()?.finish().map_err(Failure::from)
    }

    /// Return the first entry with this name.
    #[pyo3(signature = (name, /))]
    fn find(&self, name: &str) -> Result<Option<EntryRow>> {
        Ok(self.reader()?.catalogue().find(name).map(found_row))
    }

    /// Follow the links from the entry with this name to their end; None if there is no such entry.
    #[pyo3(signature = (name, /))]
    fn resolve(&self, py: Python<'_>, name: &str) -> Result<Option<EntryRow>> {
        let found = py.detach(|| self.reader()?.catalogue().resolve(name))?;
        Ok(found.map(found_row))
    }
}

/// Reads the headers of an archive in a file, and skips the data.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct TarIndexer(ProcessBound<(Fd, Mutex<Indexer>)>);

#[pymethods]
impl TarIndexer {
    #[new]
    #[pyo3(signature = (file, /, *, entries, header_bytes))]
    fn new(file: Descriptor, entries: u64, header_bytes: u64) -> Result<Self> {
        let Descriptor(file) = file;
        let stat = outside().stat(file.as_fd()).map_err(|error| Error::Io {
            errno: error.raw_os_error().unwrap_or_default(),
            path: None,
            operation: "stat",
        })?;
        let indexer = Mutex::new(Indexer::new(Limits { entries, header_bytes }, stat.size));
        Ok(Self(ProcessBound::new((file, indexer))))
    }

    /// Read the next entries, about `most`. Returns those that have the name of an earlier entry, and whether there are more entries.
    #[pyo3(signature = (most, /))]
    fn step(&self, py: Python<'_>, most: usize) -> Result<(Vec<EntryRow>, bool)> {
        let (file, _) = self.0.get(|| "archive".to_owned())?;
        py.detach(|| {
            let mut indexer = self.indexer()?;
            let entries = indexer.step(most, |buffer, offset| outside().read_at(file.as_fd(), buffer, offset))?;
            let again = entries.into_iter().filter(|entry| entry.earlier.is_some());
            Ok((again.map(entry_row).collect(), !indexer.is_done()))
        })
        .map_err(Failure::Core)
    }

    /// The number of names.
    fn __len__(&self) -> Result<usize> {
        Ok(self.indexer()?.catalogue().count())
    }

    /// See `TarReader.find`.
    #[pyo3(signature = (name, /))]
    fn find(&self, name: &str) -> Result<Option<EntryRow>> {
        Ok(self.indexer()?.catalogue().find(name).map(found_row))
    }

    /// See `TarReader.resolve`.
    #[pyo3(signature = (name, /))]
    fn resolve(&self, py: Python<'_>, name: &str) -> Result<Option<EntryRow>> {
        let found = py.detach(|| self.indexer()?.catalogue().resolve(name))?;
        Ok(found.map(found_row))
    }

    /// Look at up to `most` entries from position `start` on. Returns the regular files among them that are below a directory, and the
    /// position for the next call, None at the end.
    #[pyo3(signature = (directory, start, most, /))]
    fn files_below(
        &self,
        py: Python<'_>,
        directory: &str,
        start: usize,
        most: usize,
    ) -> Result<(Vec<EntryRow>, Option<usize>)> {
        let (found, next) =
            py.detach(|| -> CoreResult<_> { Ok(self.indexer()?.catalogue().files_below(directory, start, most)) })?;
        Ok((found.into_iter().map(found_row).collect(), next))
    }
}

impl TarIndexer {
    fn indexer(&self) -> CoreResult<MutexGuard<'_, Indexer>> {
        let (_, indexer) = self.0.get(|| "archive".to_owned())?;
        Ok(indexer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The places of `members` (name, whether it is a directory, size, mode), the offset of the end blocks, and the size of the archive.
#[pyfunction]
#[pyo3(signature = (members, /))]
pub(crate) fn tar_layout(
    py: Python<'_>,
    members: Vec<(String, bool, u64, u32)>,
) -> Result<(Vec<PlaceRow<'_>>, u64, u64)> {
    let member = |(name, directory, size, mode)| {
        let kind = if directory { Kind::Directory } else { Kind::Regular };
        Member { name, kind, size, mode }
    };
    let members: Vec<_> = members.into_iter().map(member).collect();
    let layout = py.detach(|| Layout::new(&members))?;
    let row = |place: &Place| (PyBytes::new(py, &place.header), place.header_offset, place.data_offset);
    Ok((layout.places.iter().map(row).collect(), layout.end, layout.size))
}

/// Ask the kernel to start writing a range of a file to the disk. This is only a hint: it makes nothing durable.
#[pyfunction]
#[pyo3(signature = (file, offset, size, /))]
#[allow(clippy::needless_pass_by_value, reason = "the descriptor is closed when the call ends")]
pub(crate) fn start_writeback(py: Python<'_>, file: Descriptor, offset: u64, size: u64) {
    // Errors are ignored: without the hint, the later sync only takes longer.
    py.detach(|| outside().start_writeback(file.0.as_fd(), offset, size)).ok();
}
