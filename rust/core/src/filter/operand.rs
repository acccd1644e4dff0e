//! Fields that are numbers or times, and the syntax of their values in a filter.

use std::fmt;

use crate::rfc3339;

/// The kind of a field's value, by the name of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Bytes.
    Size,
    /// Microseconds since the epoch.
    Time,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Size => "a size",
            Self::Time => "a time",
        })
    }
}

impl Kind {
    pub(super) fn of(path: &[String]) -> Self {
        let [name] = path else { return Self::Text };
        match name.as_str() {
            "size" | "offset" | "total" => Self::Size,
            "at" | "created_at" | "updated_at" | "started_at" | "expires_at" => Self::Time,
            _ => Self::Text,
        }
    }

    /// The number in a text.
    pub(super) fn parse(self, text: &str) -> Option<i128> {
        match self {
            Self::Text => None,
            Self::Size => size(text),
            Self::Time => rfc3339::parse(&text.to_ascii_uppercase()).map(|ns| ns.div_euclid(1000)),
        }
    }

    /// The message for a value that `parse` does not accept.
    pub(super) fn expected(self, path: &[String], value: &str) -> String {
        let example = match self {
            Self::Time => "an RFC 3339 time such as 2026-01-31T12:00:00Z",
            Self::Size | Self::Text => "a number of bytes such as 4096 or 4KiB (KiB, MiB, GiB, TiB)",
        };
        format!("{} is compared with {example}, not with {value:?}", path.join("."))
    }
}

/// Digits and an optional binary unit.
fn size(text: &str) -> Option<i128> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    // 20 digits are enough for every size, and even such a number of TiB fits into the result.
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.parse::<i128>().ok().map(|number| number << shift)
}
