//! Filters by tables, and by random texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::error::Error;
use crate::model::{Info, Status};

mod bounds;
mod grammar;
mod meaning;

const NOON_NS: i64 = 1_769_860_800_000_000_000; // 2026-01-31T12:00:00Z

fn info() -> Info {
    let labels = [("a", "1"), ("a.b", "dotted"), ("empty", ""), ("io.x/y", "z")];
    Info {
        digest: Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap(),
        size: 4096,
        created_ns: NOON_NS,
        updated_ns: NOON_NS + 1_500_000_999,
        labels: Arc::new(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
    }
}

fn status() -> Status {
    Status {
        ref_: "layer/1".to_owned(),
        offset: 10,
        total: None,
        expected: Some(info().digest),
        started_ns: -1,
        updated_ns: NOON_NS,
    }
}

proptest! {
    #[test]
    fn any_text_compiles_or_fails_at_a_place_in_it(text in r#"[a-z"/|,.=!~<>\\ \PC]{0,20}"#) {
        match Filter::compile(std::slice::from_ref(&text)) {
            Ok(filter) => { filter.matches(&info()); }
            Err(Error::InvalidFilter { position, .. }) => prop_assert!(position <= text.chars().count()),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    /// Whatever the key and the value, there is a filter that finds exactly them, and the index gets them unchanged.
    #[test]
    fn every_label_can_be_asked_for(key in "\\PC{1,8}", value in "\\PC{0,8}") {
        let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        prop_assume!(!format!("{key}{value}").contains(char::REPLACEMENT_CHARACTER));
        let text = format!("labels.{}=={}", quote(&key), quote(&value));
        let filter = Filter::compile(&[text]).unwrap();
        let labelled = Info { labels: Arc::new(BTreeMap::from([(key.clone(), value.clone())])), ..info() };

        prop_assert!(filter.matches(&labelled));
        prop_assert_eq!(Some(vec![(key, value)]), filter.indexed_label());
    }
}
