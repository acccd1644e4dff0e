//! The subjects of filters: values with named fields.

use std::borrow::Cow;

use crate::model::{Event, Image, Info, Lease, Status};

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A number of bytes.
    Number(u64),
    /// Nanoseconds since the epoch.
    TimeNs(i64),
}

impl Value<'_> {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::TimeNs(_) => None,
        }
    }

    /// The number to compare. Times are compared in whole microseconds: they are shown in microseconds, and a time that was
    /// shown must compare equal to itself.
    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Self::Text(_) => None,
            Self::Number(number) => Some(i128::from(*number)),
            Self::TimeNs(ns) => Some(i128::from(ns.div_euclid(1000))),
        }
    }
}

/// A value that filters can match.
pub trait Subject {
    /// The value of the field at `path`, which is never empty; `None` if there is no such field.
    fn field(&self, path: &[String]) -> Option<Value<'_>>;
}

/// The key of the label at a path. A key with dots may be written as several fields.
pub(super) fn label_key(path: &[String]) -> Option<Cow<'_, str>> {
    match path {
        [labels, key] if labels == "labels" => Some(Cow::Borrowed(key)),
        [labels, keys @ ..] if labels == "labels" && !keys.is_empty() => Some(Cow::Owned(keys.join("."))),
        _ => None,
    }
}

impl Subject for Info {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        if let Some(key) = label_key(path) {
            return self.labels.get(key.as_ref()).map(|value| Value::Text(Cow::Borrowed(value)));
        }
        let [name] = path else { return None };
        match name.as_str() {
            "digest" => Some(Value::Text(Cow::Owned(self.digest.to_string()))),
            "size" => Some(Value::Number(self.size)),
            "created_at" => Some(Value::TimeNs(self.created_ns)),
            "updated_at" => Some(Value::TimeNs(self.updated_ns)),
            _ => None,
        }
    }
}

impl Subject for Image {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        if let Some(key) = label_key(path) {
            return self.labels.get(key.as_ref()).map(|value| Value::Text(Cow::Borrowed(value)));
        }
        let names: Vec<_> = path.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["name"] => Some(Value::Text(Cow::Borrowed(&self.name))),
            ["digest"] => Some(Value::Text(Cow::Owned(self.target.digest.to_string()))),
            ["media_type"] => self.target.media_type.as_deref().map(|text| Value::Text(Cow::Borrowed(text))),
            ["size"] => self.target.size.map(Value::Number),
            ["created_at"] => Some(Value::TimeNs(self.created_ns)),
            ["updated_at"] => Some(Value::TimeNs(self.updated_ns)),
            _ => None,
        }
    }
}

impl Subject for Lease {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        if let Some(key) = label_key(path) {
            return self.labels.get(key.as_ref()).map(|value| Value::Text(Cow::Borrowed(value)));
        }
        let [name] = path else { return None };
        match name.as_str() {
            "id" => Some(Value::Text(Cow::Borrowed(&self.id))),
            "created_at" => Some(Value::TimeNs(self.created_ns)),
            "expires_at" => self.expires_ns.map(Value::TimeNs),
            _ => None,
        }
    }
}

impl Subject for Event {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        if let Some(key) = label_key(path) {
            return self.labels.get(key.as_ref()).map(|value| Value::Text(Cow::Borrowed(value)));
        }
        let [name] = path else { return None };
        let text = |text: &Option<_>| text.as_ref().map(ToString::to_string).map(|text| Value::Text(Cow::Owned(text)));
        match name.as_str() {
            "type" => Some(Value::Text(Cow::Borrowed(self.kind.name()))),
            "at" => Some(Value::TimeNs(self.at_ns)),
            "digest" => text(&self.digest),
            "size" => self.size.map(Value::Number),
            "name" => self.name.as_deref().map(|name| Value::Text(Cow::Borrowed(name))),
            "lease" => self.lease.as_deref().map(|lease| Value::Text(Cow::Borrowed(lease))),
            "previous" => text(&self.previous),
            "reason" => self.reason.map(|reason| Value::Text(Cow::Borrowed(reason.name()))),
            _ => None,
        }
    }
}

impl Subject for Status {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        let [name] = path else { return None };
        match name.as_str() {
            "ref" => Some(Value::Text(Cow::Borrowed(&self.ref_))),
            "offset" => Some(Value::Number(self.offset)),
            "total" => self.total.map(Value::Number),
            "expected" => self.expected.map(|digest| Value::Text(Cow::Owned(digest.to_string()))),
            "started_at" => Some(Value::TimeNs(self.started_ns)),
            "updated_at" => Some(Value::TimeNs(self.updated_ns)),
            _ => None,
        }
    }
}
