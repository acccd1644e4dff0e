//! Times as text: labels, filters and the files of containerd have them in the form of RFC 3339.

/// Parse a time such as `2026-01-31T12:00:00.5+01:00`, and return nanoseconds since the epoch; None for any other text.
///
/// As in Go and Python, `T` and `Z` are upper case, there is no second 60, and the time is in the years 1 to 9999, in UTC as well. A
/// fraction has at most nine digits.
pub fn parse(text: &str) -> Option<i128> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix('T')?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) || second > 59 {
        return None;
    }
    let (nanoseconds, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|character: char| !character.is_ascii_digit())?;
            let digits = rest.get(..end).filter(|digits| (1..=9).contains(&digits.len()))?;
            (format!("{digits:0<9}").parse::<i128>().ok()?, &rest[end..])
        }
        None => (0, rest),
    };
    let seconds =
        days_since_epoch(year, month, day) * 86_400 + seconds_of(hour, minute)? + second - zone_seconds(zone)?;
    let years = days_since_epoch(1, 1, 1) * 86_400..days_since_epoch(10_000, 1, 1) * 86_400;
    years.contains(&seconds).then(|| i128::from(seconds) * 1_000_000_000 + nanoseconds)
}

/// Seconds east of UTC.
fn zone_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hour, minute] = numbers(zone.strip_prefix(['+', '-'])?, ':', [2, 2])?;
    Some(sign * seconds_of(hour, minute)?)
}

fn seconds_of(hour: i64, minute: i64) -> Option<i64> {
    (hour <= 23 && minute <= 59).then_some(hour * 3600 + minute * 60)
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

/// Days from 1970-01-01 in the Gregorian calendar. Years are counted from March so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_nanoseconds_since_the_epoch() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T23:59:59.123456789Z", 1_709_251_199_123_456_789),
            ("2026-08-22T10:00:00.5+02:00", 1_787_385_600_500_000_000),
            ("2026-08-22T10:00:00-01:30", 1_787_398_200_000_000_000),
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000_000_000),
        ] {
            assert_eq!(Some(ns), parse(text), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2026-08-22",
            "2026-08-22T10:00:00",
            "2026-08-22 10:00:00Z",
            "2026-08-22_10:00:00Z",
            "2026-08-22t10:00:00Z",
            "2026-08-22T10:00:00ZZ",
            "2026-8-22T10:00:00Z",
            "2026-08-2\u{e9}T10:00:00Z",
            "2026-08-22T10:00:00z",
            "2026-08-22T10:00:00.Z",
            "2026-08-22T10:00:00,5Z",
            "2026-08-22T10:00:00.1234567890Z",
            "2026-08-22T10:00:00+2:00",
            "2026-08-22T10:00:00+0200",
            "2026-08-22T10:00:00+24:00",
            "2026-08-22T10:00:00+02:60",
            "2026-08-22T10:00:00\u{e9}",
            "2026-08-22T10:00:60Z",
            "2026-08-22T10:60:00Z",
            "2026-08-22T24:00:00Z",
            "2020-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2020-04-31T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "202\u{e9}-01-01T00:00:00Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(None, parse(text), "{text}");
        }
    }
}
