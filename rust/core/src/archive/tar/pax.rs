//! PAX records: `length key=value\n`, one after the other.

use super::field::decimal;
use super::{Fault, shown};

/// The records of one extended header that are used here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
}

/// Prefixes of refused keys. They hold the real name and size of a sparse file, or describe multi-volume and incremental archives.
const REFUSED: [&[u8]; 4] = [b"GNU.sparse.", b"GNU.volume.", b"GNU.dumpdir", b"SCHILY.realsize"];

/// Parse all records of an extended header. Those of a `global` header must not set a path, a link target or a size.
pub(super) fn parse(mut data: &[u8], global: bool) -> Result<Records, Fault> {
    let mut records = Records::default();
    let mut charset = false;
    while !data.is_empty() {
        let (Record { key, value }, rest) = record(data)?;
        data = rest;
        if let Some(refused) = REFUSED.iter().find(|refused| key.starts_with(refused)) {
            return Err(Fault::new("no sparse files and no volumes", format!("a PAX record {}", shown(refused))));
        }
        let twice = match key {
            b"path" => records.path.replace(name(key, value)?).is_some(),
            b"linkpath" => records.target.replace(name(key, value)?).is_some(),
            b"size" => records.size.replace(number(key, value)?).is_some(),
            b"hdrcharset" => {
                check_charset(value)?;
                std::mem::replace(&mut charset, true)
            }
            b"uid" | b"gid" => number(key, value).map(|_| false)?,
            b"mtime" | b"atime" | b"ctime" => check_time(key, value).map(|()| false)?,
            _ => false,
        };
        if twice {
            return Err(Fault::new(format!("one PAX record {}", shown(key)), "two"));
        }
    }
    if global && records != Records::default() {
        return Err(Fault::new("a global header without path, linkpath and size", "one of them"));
    }
    Ok(records)
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
}

/// Split the first record off.
fn record(data: &[u8]) -> Result<(Record<'_>, &[u8]), Fault> {
    let malformed = || Fault::new("a PAX record `length key=value`", shown(data));
    // The length of a record that fits into a header has at most 10 digits.
    let space = data.iter().take(11).position(|byte| *byte == b' ').ok_or_else(malformed)?;
    let length = decimal(&data[..space]).and_then(|length| usize::try_from(length).ok()).ok_or_else(malformed)?;
    if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
        return Err(malformed());
    }
    let body = &data[space + 1..length - 1];
    let equals = body.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return Err(malformed());
    }
    Ok((Record { key, value }, &data[length..]))
}

fn name(key: &[u8], value: &[u8]) -> Result<Vec<u8>, Fault> {
    if value.is_empty() || value.contains(&0) {
        return Err(Fault::new(format!("a name in the PAX record {}", shown(key)), shown(value)));
    }
    Ok(value.to_vec())
}

fn number(key: &[u8], value: &[u8]) -> Result<u64, Fault> {
    decimal(value).ok_or_else(|| Fault::new(format!("a number in the PAX record {}", shown(key)), shown(value)))
}

/// Check a time: seconds since the epoch, optionally with a fraction.
fn check_time(key: &[u8], value: &[u8]) -> Result<(), Fault> {
    let (whole, fraction) = match value.iter().position(|byte| *byte == b'.') {
        Some(point) => (&value[..point], &value[point + 1..]),
        None => (value, &b""[..]),
    };
    if decimal(whole).is_none() || !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Fault::new(format!("a time in the PAX record {}", shown(key)), shown(value)));
    }
    Ok(())
}

/// Check the character set. Names must be UTF-8 in any case; with either of these two values, the bytes of a name are not converted.
fn check_charset(value: &[u8]) -> Result<(), Fault> {
    if matches!(value, b"BINARY" | b"ISO-IR 10646 2000 UTF-8") {
        return Ok(());
    }
    Err(Fault::new("names in UTF-8", format!("the character set {}", shown(value))))
}
