//! The small files that containerd writes into the directory of an ingest.

/// The ref.
pub(crate) const REF: &str = "ref";
/// The size that was announced; missing, or 0, where there is none.
pub(crate) const TOTAL: &str = "total";
/// When the ingest was begun.
pub(crate) const STARTED_AT: &str = "startedat";
/// When it was last opened or closed.
pub(crate) const UPDATED_AT: &str = "updatedat";

/// Nanoseconds since the epoch of an RFC 3339 time, as Go writes it; None for anything else. A time after 2262 is the last one.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let separators = [(4, '-'), (7, '-'), (10, 'T'), (13, ':'), (16, ':')];
    if !separators.iter().all(|&(at, which)| text.get(at..=at) == Some(which.encode_utf8(&mut [0; 4]))) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month)
        || !(1..=days_of(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let zone_at = text.find(['Z', '+']).or_else(|| text.rfind('-').filter(|&at| at >= 19))?;
    let nanoseconds = match text.get(19..zone_at)? {
        "" => 0,
        fraction => {
            let digits = fraction.strip_prefix('.').filter(|digits| (1..=9).contains(&digits.len()))?;
            let value = number(20, zone_at)?;
            value * 10_i64.pow(u32::try_from(9 - digits.len()).ok()?)
        }
    };
    let shift_minutes = match text.get(zone_at..)? {
        "Z" => 0,
        zone if zone.len() == 6 && zone.as_bytes()[3] == b':' => {
            let minutes = number(zone_at + 1, zone_at + 3)? * 60 + number(zone_at + 4, zone_at + 6)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
        _ => return None,
    };
    let minutes = (days_since_epoch(year, month, day) * 24 + hour) * 60 + minute - shift_minutes;
    let seconds = minutes * 60 + second;
    match seconds.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanoseconds)) {
        None if seconds > 0 => Some(i64::MAX),
        time => time,
    }
}

/// How many days a month has.
fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; years are counted from March so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_as_go_writes_them_are_read() {
        for (text, ns) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T23:59:59.123456789Z", 1_709_251_199_123_456_789),
            ("2026-08-22T10:00:00.5+02:00", 1_787_385_600_500_000_000),
            ("2026-08-22T10:00:00-01:30", 1_787_398_200_000_000_000),
            ("1969-12-31T23:59:59Z", -1_000_000_000),
            ("2999-01-01T00:00:00Z", i64::MAX),
            ("9999-12-31T00:00:00Z", i64::MAX),
        ] {
            assert_eq!(Some(ns), parse_time(text), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_time() {
        for text in [
            "2020-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2020-04-31T00:00:00Z",
            "",
            "yesterday",
            "2026-08-22",
            "2026-08-22T10:00:00",
            "2026-13-01T00:00:00Z",
            "2026-08-22T10:00:00.Z",
            "2026-08-22T10:00:00.1234567890Z",
            "2026-08-22T10:00:00+2:00",
            "2026-08-22 10:00:00Z",
            "2026-08-2éT10:00:00Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(None, parse_time(text), "{text}");
        }
    }
}
