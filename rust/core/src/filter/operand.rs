//! Fields that are numbers or times, and how their values are written in a filter.

use std::fmt;

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

    /// The number that the text stands for.
    pub(super) fn parse(self, text: &str) -> Option<i128> {
        match self {
            Self::Text => None,
            Self::Size => size(text),
            Self::Time => time(text),
        }
    }

    /// Why `parse` gave nothing.
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
    // 20 digits hold any size there is, and a TiB of them still fits.
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.parse::<i128>().ok().map(|number| number << shift)
}

/// An RFC 3339 time with at most nine digits of fraction, in microseconds since the epoch.
fn time(text: &str) -> Option<i128> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|character: char| !character.is_ascii_digit())?;
            let digits = rest.get(..end).filter(|digits| (1..=9).contains(&digits.len()))?;
            (format!("{digits:0<9}").parse::<i128>().ok()? / 1000, &rest[end..])
        }
        None => (0, rest),
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - zone_seconds(zone)?;
    Some(i128::from(seconds) * 1_000_000 + micros)
}

/// Seconds east of UTC.
fn zone_seconds(zone: &str) -> Option<i64> {
    if matches!(zone, "Z" | "z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hour, minute] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
    (hour <= 23 && minute <= 59).then_some(sign * (hour * 3600 + minute * 60))
}

/// Parts of exactly these lengths, all of digits.
fn numbers<const N: usize>(text: &str, separator: char, lengths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, length) in found.iter_mut().zip(lengths) {
        let part =
            parts.next().filter(|part| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to a date of the Gregorian calendar, in eras of 400 years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
