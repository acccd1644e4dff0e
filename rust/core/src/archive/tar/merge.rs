//! The headers of one entry, merged if they agree.
//!
//! A header has too little room for long names and large sizes, so programs write the complete value into an extended
//! header and a shorter one into the header itself. No other difference between the two is allowed.

use super::field::text;
use super::header::{Announced, Header};
use super::pax::Records;
use super::{Fault, Kind, shown};

/// The size of the name field of a header.
const NAME: usize = 100;
/// The largest size in a header's eleven octal digits.
const OCTAL: u64 = 0o777_7777_7777;

/// The extended headers that were read before the header of their entry.
#[derive(Debug, Default)]
pub(super) struct Extended {
    records: Option<Records>,
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

/// An entry whose headers agree; its names are not checked yet.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) kind: Kind,
    pub(super) name: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) size: u64,
}

impl Extended {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_none() && self.name.is_none() && self.target.is_none()
    }

    /// Refuse an extended header that cannot belong to the same entry as the extended headers before it.
    pub(super) fn check(&self, next: Announced) -> Result<(), Fault> {
        let allowed = match next {
            Announced::Entry(_) => true,
            Announced::Pax | Announced::Global => self.is_empty(),
            Announced::LongName => self.records.is_none() && self.name.is_none(),
            Announced::LongTarget => self.records.is_none() && self.target.is_none(),
        };
        if allowed {
            return Ok(());
        }
        Err(Fault::new("an entry after its extended header", "another extended header"))
    }

    /// Keep the values of an extended header.
    pub(super) fn keep(&mut self, announced: Announced, data: &[u8]) -> Result<(), Fault> {
        match announced {
            Announced::Pax => self.records = Some(super::pax::parse(data, false)?),
            Announced::Global => drop(super::pax::parse(data, true)?),
            Announced::LongName => self.name = Some(long(data, "long name")?),
            Announced::LongTarget => self.target = Some(long(data, "long link target")?),
            Announced::Entry(_) => unreachable!("the reader keeps extended headers only"),
        }
        Ok(())
    }

    /// Return the most complete name of the entry that is known so far, for messages.
    pub(super) fn name_of<'a>(&'a self, header: &'a [u8]) -> &'a [u8] {
        let record = self.records.as_ref().and_then(|records| records.path.as_deref());
        record.or(self.name.as_deref()).unwrap_or(header)
    }

    /// Merge the values from all headers of an entry, or fail if they contradict each other.
    pub(super) fn agree(self, kind: Kind, header: Header) -> Result<Agreed, Fault> {
        let records = self.records.unwrap_or_default();
        let size = size(header.size, records.size)?;
        let name = name("name", header.name, records.path, self.name)?;
        let target = name_or_none("link target", header.target, records.target, self.target)?;
        if kind != Kind::Regular && size != 0 {
            return Err(Fault::new(format!("no data of a {}", kind.name()), format!("{size} bytes")));
        }
        let link = matches!(kind, Kind::Symlink | Kind::Hardlink);
        if link == target.is_empty() {
            let (expected, found) = if link { ("a link target", "none") } else { ("no link target", "one") };
            return Err(Fault::new(expected, if link { found.to_owned() } else { shown(&target) }));
        }
        Ok(Agreed { kind, name, target, size })
    }
}

/// Return a GNU long name: bytes that end with at least one NUL. The NUL may be missing, as old programs do not write it.
fn long(data: &[u8], what: &str) -> Result<Vec<u8>, Fault> {
    let name = text(data, what)?;
    if name.is_empty() {
        return Err(Fault::new(format!("a {what}"), "an empty one"));
    }
    Ok(name.to_vec())
}

/// Return the size. The header must have the same size as the PAX record, or 0 if its field is too short for the size.
fn size(header: u64, record: Option<u64>) -> Result<u64, Fault> {
    match record {
        Some(record) if header == record || (header == 0 && record > OCTAL) => Ok(record),
        Some(record) => Err(Fault::new(format!("the size {header} of the header"), format!("{record} in PAX"))),
        None => Ok(header),
    }
}

fn name_or_none(what: &str, header: Vec<u8>, record: Option<Vec<u8>>, long: Option<Vec<u8>>) -> Result<Vec<u8>, Fault> {
    if header.is_empty() && record.is_none() && long.is_none() { Ok(header) } else { name(what, header, record, long) }
}

/// Return the name. A name that fits into the header must be there unchanged. For a longer one, the header may contain anything
/// beside a PAX record, because every program shortens names in its own way; beside a GNU long name it contains the beginning.
fn name(what: &str, header: Vec<u8>, record: Option<Vec<u8>>, long: Option<Vec<u8>>) -> Result<Vec<u8>, Fault> {
    let (other, agrees) = match (record, long) {
        (None, None) => return Ok(header),
        (Some(path), _) => {
            let fits = path.is_ascii() && path.len() <= NAME;
            let agrees = path == header || !fits;
            (path, agrees)
        }
        (None, Some(long)) => {
            let agrees = long == header || (long.len() > NAME - 1 && long.starts_with(&header) && !header.is_empty());
            (long, agrees)
        }
    };
    if agrees {
        return Ok(other);
    }
    Err(Fault::new(format!("the {what} {} of the header", shown(&header)), shown(&other)))
}
