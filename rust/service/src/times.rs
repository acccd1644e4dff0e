//! Times: conversion between nanoseconds since the epoch and the forms of the protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

const SECOND: i64 = 1_000_000_000;

/// Convert a time, with a resolution of a microsecond, as in all interfaces of Steelyard.
pub(crate) fn timestamp(ns: i64) -> Timestamp {
    let nanos = i32::try_from(ns.rem_euclid(SECOND) / 1000 * 1000).unwrap_or(0);
    Timestamp { seconds: ns.div_euclid(SECOND), nanos }
}

/// A time as text, such as `2030-01-31T12:00:00Z`.
pub(crate) fn rfc3339(ns: i64) -> String {
    timestamp(ns).to_string()
}

/// Now, in nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Times in JSON: seconds since the epoch and nanoseconds, or null.
pub(crate) mod json {
    use prost_types::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[allow(clippy::ref_option, reason = "serde's `with` passes this type")]
    pub(crate) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.as_ref().map(|time| (time.seconds, time.nanos)).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let found: Option<(i64, i32)> = Option::deserialize(deserializer)?;
        Ok(found.map(|(seconds, nanos)| Timestamp { seconds, nanos }))
    }
}
