//! The writer: the same members always produce the same bytes, and all offsets are known before the first byte is written.

use std::collections::HashSet;

use super::header::sum;
use super::name::relative;
use super::reader::padding;
use super::{BLOCK, Fault, Kind, shown};
use crate::error::{Error, Result};

/// The end of an archive: two zero blocks.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The largest number in the eleven octal digits of a header. Sizes of 8 GiB and more go into a PAX record.
const OCTAL: u64 = 0o777_7777_7777;
const NAME: usize = 100;
const PREFIX: usize = 155;

/// A member to write. The caller cannot set times and owners: the time and the numeric owners are 0, the owners' names empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name: relative, without `.` and `..`.
    pub name: String,
    /// A regular file or a directory.
    pub kind: Kind,
    /// Bytes of data; 0 for a directory.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
}

/// The place of a member in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its headers, a whole number of blocks.
    pub header: Vec<u8>,
    /// Offset of its headers.
    pub header_offset: u64,
    /// Offset of its data; the next member begins where the data ends, rounded up to a multiple of [`BLOCK`].
    pub data_offset: u64,
}

/// The places of all members of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// One place for each member, in the given order.
    pub places: Vec<Place>,
    /// Offset of [`END`].
    pub end: u64,
    /// The size of the whole archive.
    pub size: u64,
}

impl Layout {
    /// Compute the place of each member. A name that is invalid or occurs twice is `InvalidArgument`.
    pub fn new(members: &[Member]) -> Result<Self> {
        let mut names = HashSet::new();
        let mut places = Vec::with_capacity(members.len());
        let mut end = 0_u64;
        for member in members {
            if !names.insert(&member.name) {
                return Err(invalid(&member.name, "the name occurs twice"));
            }
            let header = header(member)?;
            let data_offset = end.checked_add(header.len() as u64);
            let next =
                data_offset.and_then(|offset| offset.checked_add(member.size)?.checked_add(padding(member.size)));
            let (Some(data_offset), Some(next)) = (data_offset, next.filter(|next| i64::try_from(*next).is_ok()))
            else {
                return Err(invalid(&member.name, "the archive would be too large"));
            };
            places.push(Place { header, header_offset: end, data_offset });
            end = next;
        }
        Ok(Self { places, end, size: end + END.len() as u64 })
    }
}

/// Return the headers of a member: one ustar block. PAX records precede it if ustar cannot express the name or the size.
pub fn header(member: &Member) -> Result<Vec<u8>> {
    let Member { name, kind, size, mode } = member;
    let flag = match kind {
        Kind::Regular => b'0',
        Kind::Directory if *size == 0 => b'5',
        Kind::Directory => return Err(invalid(name, "a directory has no data")),
        Kind::Symlink | Kind::Hardlink => return Err(invalid(name, "links are not written")),
    };
    let clean = relative(name).map_err(|Fault { expected, found }| invalid(&found, &format!("expected {expected}")))?;
    if clean.is_empty() || clean != *name || name.contains('\0') {
        return Err(invalid(name, "expected a name without \".\" and empty parts"));
    }
    let name = if *kind == Kind::Directory { format!("{clean}/") } else { clean };
    let mut records = Vec::new();
    let (prefix, short) = split(&name).unwrap_or_else(|| {
        records.extend(record("path", &name));
        ("", &name)
    });
    if *size > OCTAL {
        records.extend(record("size", &size.to_string()));
    }
    let mut headers = Vec::new();
    if !records.is_empty() {
        let length = records.len() as u64;
        headers.extend(block(b'x', "", "PaxHeaders", length, 0o644));
        headers.extend_from_slice(&records);
        headers.resize(headers.len() + usize::try_from(padding(length)).unwrap_or_default(), 0);
    }
    headers.extend(block(flag, prefix, short, if *size > OCTAL { 0 } else { *size }, *mode));
    Ok(headers)
}

fn invalid(name: &str, reason: &str) -> Error {
    Error::InvalidArgument { message: format!("archive member {}: {reason}", shown(name.as_bytes())) }
}

/// Split a name into the prefix and name fields of ustar. `None` if it does not fit or is not ASCII: it then needs a PAX record.
fn split(name: &str) -> Option<(&str, &str)> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= NAME {
        return Some(("", name));
    }
    // Use the shortest prefix after which the rest fits into the name field. The slash between them is not written.
    let at = (name.len() - NAME - 1..name.len() - 1).find(|at| name.as_bytes()[*at] == b'/' && *at > 0)?;
    (at <= PREFIX).then(|| (&name[..at], &name[at + 1..]))
}

/// Return a PAX record. Its length includes the digits of the length itself.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let digits = (1..=20).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap_or_default();
    format!("{}{rest}", rest.len() + digits).into_bytes()
}

/// Return a ustar block. A name that does not fit is cut, and its bytes outside of ASCII become `_`: a PAX record has the full name.
fn block(flag: u8, prefix: &str, name: &str, size: u64, mode: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (place, byte) in block[..NAME].iter_mut().zip(name.bytes()) {
        *place = if byte.is_ascii() { byte } else { b'_' };
    }
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(100, &format!("{:07o}", mode & 0o7777));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(257, "ustar\x0000");
    put(329, "0000000");
    put(337, "0000000");
    put(345, prefix);
    block[156] = flag;
    let sum = format!("{:06o}\0 ", sum(&block));
    block[148..156].copy_from_slice(sum.as_bytes());
    block
}
