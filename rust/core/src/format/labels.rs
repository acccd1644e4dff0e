//! The labels of a blob as one JSON object of strings: readable in any SQLite shell, and lossless for every label.

use std::fmt::Write;

use crate::model::Labels;

/// JSON's white space.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Return the labels as JSON, keys in order.
pub(crate) fn encode(labels: &Labels) -> String {
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

/// Parse an object of strings; `None` for anything else.
pub(crate) fn decode(text: &str) -> Option<Labels> {
    let mut labels = Labels::new();
    let mut rest = text;
    take(&mut rest, '{')?;
    if take(&mut rest, '}').is_none() {
        loop {
            let key = string(&mut rest)?;
            take(&mut rest, ':')?;
            labels.insert(key, string(&mut rest)?);
            if take(&mut rest, ',').is_none() {
                take(&mut rest, '}')?;
                break;
            }
        }
    }
    rest.trim_start_matches(SPACE).is_empty().then_some(labels)
}

fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for each in value.chars() {
        match each {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            // JSON requires that control characters are escaped. A raw NUL would also end the text in some tools.
            '\0'..='\x1f' => write!(text, "\\u{:04x}", u32::from(each)).unwrap_or_default(),
            _ => text.push(each),
        }
    }
    text.push('"');
}

/// Consume this character and the white space before it; `None` if another character follows.
fn take(rest: &mut &str, wanted: char) -> Option<()> {
    *rest = rest.trim_start_matches(SPACE);
    *rest = rest.strip_prefix(wanted)?;
    Some(())
}

fn string(rest: &mut &str) -> Option<String> {
    take(rest, '"')?;
    let mut text = String::new();
    loop {
        // Whole runs are copied at once, because a listing reads every label of the store.
        let plain = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
        text.push_str(&rest[..plain]);
        let special = rest.as_bytes()[plain];
        *rest = &rest[plain + 1..];
        match special {
            b'"' => return Some(text),
            b'\\' => text.push(escaped(rest)?),
            _ => return None,
        }
    }
}

/// Consume the rest of an escape after its backslash.
fn escaped(rest: &mut &str) -> Option<char> {
    let kind = rest.chars().next()?;
    *rest = &rest[kind.len_utf8()..];
    Some(match kind {
        '"' | '\\' | '/' => kind,
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => match unit(rest)? {
            high @ 0xd800..=0xdbff => {
                *rest = rest.strip_prefix("\\u")?;
                char::decode_utf16([high, unit(rest)?]).next()?.ok()?
            }
            other => char::from_u32(u32::from(other))?,
        },
        _ => return None,
    })
}

/// Consume four hex digits.
fn unit(rest: &mut &str) -> Option<u16> {
    let digits = rest.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    *rest = &rest[4..];
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_readable_json() {
        let labels = Labels::from([("a".to_owned(), "x\"\\\n".to_owned()), ("b".to_owned(), "ü".to_owned())]);

        assert_eq!(encode(&labels), r#"{"a":"x\"\\\u000a","b":"ü"}"#);
    }

    #[test]
    fn what_other_tools_write_is_read() {
        let labels = decode(" { \"a\" : \"\\ud83d\\ude00\\n\\/\" , \"b\":\"\" } ").unwrap();

        assert_eq!(labels, Labels::from([("a".to_owned(), "😀\n/".to_owned()), ("b".to_owned(), String::new())]));
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
        fn every_label_comes_back(labels in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4)) {
            prop_assert_eq!(decode(&encode(&labels)), Some(labels));
        }
    }
}
