//! A blob's labels as one JSON object of strings: readable in any SQLite shell, exact for every label.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use crate::model::Labels;

/// Return the labels as JSON, keys in order.
pub(super) fn encode(labels: &Labels) -> String {
    let mut text = String::from("{");
    for (key, value) in labels {
        if text.len() > 1 {
            text.push(',');
        }
        push_string(&mut text, key);
        text.push(':');
        push_string(&mut text, value);
    }
    text.push('}');
    text
}

/// Read an object of strings; None if it is anything else.
pub(super) fn decode(text: &str) -> Option<Labels> {
    let mut labels = Labels::new();
    let mut rest = text.chars().peekable();
    take(&mut rest, '{')?;
    if peek(&mut rest) == Some('}') {
        rest.next();
    } else {
        loop {
            let key = string(&mut rest)?;
            take(&mut rest, ':')?;
            let value = string(&mut rest)?;
            labels.insert(key, value);
            peek(&mut rest);
            match rest.next()? {
                ',' => {}
                '}' => break,
                _ => return None,
            }
        }
    }
    peek(&mut rest).is_none().then_some(labels)
}

fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for each in value.chars() {
        match each {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            // Control characters must be escaped in JSON; NUL besides would end the text in some tools.
            '\0'..='\x1f' => write!(text, "\\u{:04x}", u32::from(each)).unwrap_or_default(),
            _ => text.push(each),
        }
    }
    text.push('"');
}

/// Skip white space and return the character after it, which stays.
fn peek(rest: &mut Peekable<Chars<'_>>) -> Option<char> {
    while rest
        .next_if(|each| matches!(each, ' ' | '\t' | '\n' | '\r'))
        .is_some()
    {}
    rest.peek().copied()
}

fn take(rest: &mut Peekable<Chars<'_>>, wanted: char) -> Option<()> {
    peek(rest);
    (rest.next()? == wanted).then_some(())
}

fn string(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    take(rest, '"')?;
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(escaped(rest)?),
            '\0'..='\x1f' => return None,
            each => text.push(each),
        }
    }
}

fn escaped(rest: &mut Peekable<Chars<'_>>) -> Option<char> {
    Some(match rest.next()? {
        each @ ('"' | '\\' | '/') => each,
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => match unit(rest)? {
            high @ 0xd800..=0xdbff => {
                (rest.next()? == '\\' && rest.next()? == 'u').then_some(())?;
                let low = unit(rest)?;
                char::decode_utf16([high, low]).next()?.ok()?
            }
            other => char::from_u32(u32::from(other))?,
        },
        _ => return None,
    })
}

fn unit(rest: &mut Peekable<Chars<'_>>) -> Option<u16> {
    let mut value = 0;
    for _ in 0..4 {
        value = value << 4 | u16::try_from(rest.next()?.to_digit(16)?).ok()?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_readable_json() {
        let labels = Labels::from([
            ("a".to_owned(), "x\"\\\n".to_owned()),
            ("b".to_owned(), "ü".to_owned()),
        ]);

        assert_eq!(encode(&labels), r#"{"a":"x\"\\\u000a","b":"ü"}"#);
    }

    #[test]
    fn what_other_tools_write_is_read() {
        let labels = decode(" { \"a\" : \"\\ud83d\\ude00\\n\\/\" , \"b\":\"\" } ").unwrap();

        assert_eq!(
            labels,
            Labels::from([
                ("a".to_owned(), "😀\n/".to_owned()),
                ("b".to_owned(), String::new())
            ])
        );
        assert_eq!(decode("{ }"), Some(Labels::new()));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "{",
            "[]",
            "{\"a\":1}",
            "{\"a\":\"b\"",
            "{\"a\":\"b\",}",
            "{} x",
            "{\"a\":\"\\ud83d\"}",
            "{\"a\":\"\n\"}",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_label_comes_back(labels: Labels) {
            prop_assert_eq!(decode(&encode(&labels)), Some(labels));
        }
    }
}
