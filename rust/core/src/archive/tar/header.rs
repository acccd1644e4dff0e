//! Parsing of one header block.

use super::field::{number, text};
use super::{BLOCK, Fault, Kind, shown};

/// The kind of a header, as announced by its type flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// An entry.
    Entry(Kind),
    /// PAX records for the next entry.
    Pax,
    /// PAX records for all entries after it.
    Global,
    /// The next entry's long name.
    LongName,
    /// The next entry's long link target.
    LongTarget,
}

/// The content of a header block.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) announced: Announced,
    /// The name, with the ustar prefix if there is one.
    pub(super) name: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) size: u64,
}

/// Return the raw bytes of the name field, for messages about headers that cannot be parsed.
pub(super) fn raw_name(block: &[u8; BLOCK]) -> &[u8] {
    let end = block[..100].iter().position(|byte| *byte == 0).unwrap_or(100);
    &block[..end]
}

/// Parse a header block. Fields that the import does not use must be well-formed too.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Header, Fault> {
    check_sum(block)?;
    let announced = announced(block[156])?;
    let prefix = match &block[257..265] {
        b"ustar\x0000" => {
            zeros(&block[500..], "after the header's fields")?;
            text(&block[345..500], "prefix")?
        }
        b"ustar  \0" => {
            // GNU tar has times, offsets and sparse maps here. Some readers interpret these bytes as a prefix of the name.
            zeros(&block[345..], "where GNU keeps what no image needs")?;
            b""
        }
        other => return Err(Fault::new("a header of ustar, PAX or GNU tar", shown(other))),
    };
    for (field, what) in [(100..108, "mode"), (108..116, "user"), (116..124, "group"), (136..148, "time")] {
        number(&block[field], what)?;
    }
    number(&block[329..337], "device")?;
    number(&block[337..345], "device")?;
    text(&block[265..297], "user name")?;
    text(&block[297..329], "group name")?;
    let size = number(&block[124..136], "size")?.ok_or_else(|| Fault::new("a size", "a blank field"))?;
    let own = text(&block[..100], "name")?;
    let name = if prefix.is_empty() { own.to_vec() } else { [prefix, b"/", own].concat() };
    let target = text(&block[157..257], "link target")?.to_vec();
    Ok(Header { announced, name, target, size })
}

fn announced(flag: u8) -> Result<Announced, Fault> {
    let refused = match flag {
        b'0' | 0 => return Ok(Announced::Entry(Kind::Regular)),
        b'1' => return Ok(Announced::Entry(Kind::Hardlink)),
        b'2' => return Ok(Announced::Entry(Kind::Symlink)),
        b'5' => return Ok(Announced::Entry(Kind::Directory)),
        b'x' => return Ok(Announced::Pax),
        b'g' => return Ok(Announced::Global),
        b'L' => return Ok(Announced::LongName),
        b'K' => return Ok(Announced::LongTarget),
        b'3' => "a character device".to_owned(),
        b'4' => "a block device".to_owned(),
        b'6' => "a pipe".to_owned(),
        b'S' => "a sparse file".to_owned(),
        other => format!("an entry of type {}", shown(&[other])),
    };
    Err(Fault::new("a regular file, a directory or a link", refused))
}

fn zeros(bytes: &[u8], place: &str) -> Result<(), Fault> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(Fault::new(format!("zero bytes {place}"), shown(bytes)))
}

/// Check the checksum: the sum of all bytes, with the bytes of its own field counted as spaces. Some old programs summed signed
/// bytes; such a sum differs only if a byte is over 127, and is then refused.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), Fault> {
    let actual: u64 = sum(block);
    match number(&block[148..156], "sum") {
        Ok(Some(stated)) if stated == actual => Ok(()),
        Ok(Some(stated)) => Err(Fault::new(format!("a header with the checksum {actual:o}"), format!("{stated:o}"))),
        Ok(None) | Err(_) => Err(Fault::new("a header with a checksum", shown(&block[148..156]))),
    }
}

/// Whether a block has a valid header checksum. Input whose first block has none is not an archive.
pub(super) fn has_sum(block: &[u8; BLOCK]) -> bool {
    check_sum(block).is_ok()
}

/// The checksum that a header should have.
pub(super) fn sum(block: &[u8; BLOCK]) -> u64 {
    let own: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
    block.iter().map(|byte| u64::from(*byte)).sum::<u64>() - own + 8 * u64::from(b' ')
}
