//! Quoted texts: Go's escapes between `"`, `/` or `|`.

use std::str::Chars;

/// The fault of a quoted text, and its position in bytes after the opening quote.
pub(super) struct Wrong {
    /// `None`: there is no closing quote, and the error is at the opening one.
    pub(super) at: Option<usize>,
    pub(super) reason: &'static str,
}

const OPEN: Wrong = Wrong { at: None, reason: "the quote is not closed" };

/// Unquote the text after an opening `quote`. Returns it with the number of bytes up to and including the closing quote.
pub(super) fn unquote(text: &str, quote: char) -> Result<(String, usize), Wrong> {
    let mut rest = text.chars();
    // Octal and hexadecimal escapes are bytes; several of them may form one character.
    let mut bytes = Vec::new();
    loop {
        let at = text.len() - rest.as_str().len();
        let wrong = |reason| Wrong { at: Some(at), reason };
        match rest.next() {
            None | Some('\n') => return Err(OPEN),
            Some('\0') => return Err(wrong("a NUL character")),
            Some(char::REPLACEMENT_CHARACTER) => return Err(wrong("not valid Unicode")),
            Some(character) if character == quote => {
                let text = String::from_utf8(bytes).map_err(|_| wrong("the escapes before do not make UTF-8"))?;
                return Ok((text, at + 1));
            }
            Some('\\') => escape(&mut rest, quote, &mut bytes).map_err(wrong)?,
            Some(character) => push(character, &mut bytes),
        }
    }
}

fn push(character: char, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Read the rest of an escape after its backslash.
fn escape(rest: &mut Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
    const ILLEGAL: &str = "no such escape (a backslash itself is written \\\\)";
    let byte = match rest.next() {
        Some('a') => 0x07,
        Some('b') => 0x08,
        Some('f') => 0x0c,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 0x0b,
        Some('\\') => b'\\',
        Some(character) if character == quote => {
            push(character, bytes);
            return Ok(());
        }
        Some(first @ '0'..='7') => {
            let high = first.to_digit(8).unwrap_or_default();
            let number = high << 6 | digits(rest, 8, 2)?;
            u8::try_from(number).map_err(|_| "an octal escape is at most \\377")?
        }
        Some('x') => u8::try_from(digits(rest, 16, 2)?).map_err(|_| ILLEGAL)?,
        Some(kind @ ('u' | 'U')) => {
            let number = digits(rest, 16, if kind == 'u' { 4 } else { 8 })?;
            push(char::from_u32(number).ok_or("not a Unicode character")?, bytes);
            return Ok(());
        }
        _ => return Err(ILLEGAL),
    };
    bytes.push(byte);
    Ok(())
}

/// Read exactly `count` digits.
fn digits(rest: &mut Chars<'_>, radix: u32, count: usize) -> Result<u32, &'static str> {
    let mut number = 0;
    for _ in 0..count {
        let digit = rest.next().and_then(|character| character.to_digit(radix));
        number = number * radix + digit.ok_or("too few digits in an escape")?;
    }
    Ok(number)
}
