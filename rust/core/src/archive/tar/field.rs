//! The fields of a header: text that ends with a NUL, and numbers in octal or base 256.

use super::{Fault, shown};

/// The largest allowed number: the largest signed 64-bit offset.
pub(super) const LARGEST: u64 = i64::MAX as u64;

/// Return a text field up to its NUL. Bytes after the NUL are refused: other readers could use them.
pub(super) fn text<'a>(field: &'a [u8], what: &str) -> Result<&'a [u8], Fault> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    if field[end..].iter().any(|byte| *byte != 0) {
        return Err(Fault::new(format!("zero bytes after the end of the {what}"), shown(&field[end..])));
    }
    Ok(&field[..end])
}

/// Return a number, or `None` for a blank field.
pub(super) fn number(field: &[u8], what: &str) -> Result<Option<u64>, Fault> {
    match field[0] {
        0x80 => base_256(&field[1..]).map(Some).ok_or_else(|| too_large(what)),
        0xff => Err(Fault::new(format!("a {what} that is not negative"), "a negative number in base 256")),
        0x81.. => Err(too_large(what)),
        _ => octal(field).map_err(|()| Fault::new(format!("an octal {what}"), shown(field))),
    }
}

fn too_large(what: &str) -> Fault {
    Fault::new(format!("a {what} of at most {LARGEST}"), "a larger number in base 256")
}

fn base_256(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |value, byte| {
        let value = value.checked_mul(256)?.checked_add(u64::from(*byte))?;
        (value <= LARGEST).then_some(value)
    })
}

/// Parse spaces, octal digits, then spaces and NULs: the form that every reader understands as the same number. A field has at
/// most 12 digits, so the value cannot overflow.
fn octal(field: &[u8]) -> Result<Option<u64>, ()> {
    let begin = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = field[begin..].iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let (digits, rest) = field[begin..].split_at(digits);
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return Err(());
    }
    let value = digits.iter().fold(0, |value, digit| value * 8 + u64::from(digit - b'0'));
    Ok((!digits.is_empty()).then_some(value))
}

/// Return a decimal number without a sign, spaces or leading zeros, as PAX writes it.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    let plain = text.iter().all(u8::is_ascii_digit) && (text == b"0" || !text.starts_with(b"0"));
    let value = std::str::from_utf8(text).ok()?.parse().ok()?;
    (plain && value <= LARGEST).then_some(value)
}
