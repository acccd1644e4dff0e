//! Checks whether untrusted bytes are JSON that every reader understands in the same way.
//!
//! Readers disagree about duplicate keys, the spelling of fields, invalid Unicode and the limit of depth. An attacker who can
//! choose the reader could then choose the meaning. So such documents are refused before another reader parses them. Memory is
//! bounded by the keys of the enclosing objects; time is linear.

mod parts;
mod references;
mod shape;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde_core::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use shape::Known;

pub use parts::{Part, Parts, parts};
pub use references::{DOCUMENT_LIMIT, Reference, References, Role, is_document, may_be_document, references};
pub use shape::Shape;

/// The largest depth for [`check`]; the parser itself supports 128.
pub const MOST_DEPTH: usize = 120;

/// The kind of fault of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not JSON.
    Syntax,
    /// An object has a key twice.
    Duplicate,
    /// Values are nested too deep.
    Depth,
    /// A known field is spelled in another way.
    Spelling,
    /// It has a field of another kind of document.
    Foreign,
}

impl Kind {
    /// Its name, for the Python package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Duplicate => "duplicate",
            Self::Depth => "depth",
            Self::Spelling => "spelling",
            Self::Foreign => "foreign",
        }
    }
}

/// A fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of the fault.
    pub kind: Kind,
    /// The JSON path of the value with the fault; `$` for a fault of syntax.
    pub path: String,
    /// For people: the expected text.
    pub expected: String,
    /// For people: the wrong key, or the message of the parser.
    pub found: String,
}

/// Refuse bytes that are not strict JSON: one value, unique keys, at most `depth` levels of arrays and objects. With `shape`, also
/// refuse a document that a reader with case folding could take for another one.
pub fn check(data: &[u8], depth: usize, shape: Option<&Shape>) -> Result<(), Fault> {
    let state = State { most: depth.min(MOST_DEPTH), fault: RefCell::new(None) };
    let mut parser = serde_json::Deserializer::from_slice(data);
    let result = Value { state: &state, depth: 0, shape }.deserialize(&mut parser).and_then(|_| parser.end());
    let Err(error) = result else {
        return Ok(());
    };
    Err(match state.fault.into_inner() {
        Some(Refusal { kind, expected, found, mut path }) => {
            path.push("$".to_owned());
            path.reverse();
            Fault { kind, path: path.concat(), expected, found }
        }
        None => {
            Fault { kind: Kind::Syntax, path: "$".to_owned(), expected: "JSON".to_owned(), found: error.to_string() }
        }
    })
}

struct State {
    most: usize,
    fault: RefCell<Option<Refusal>>,
}

/// A fault that this check found, not the parser. Its path is collected from the innermost value outwards.
struct Refusal {
    kind: Kind,
    expected: String,
    found: String,
    path: Vec<String>,
}

impl State {
    fn refuse<E: serde_core::de::Error>(&self, kind: Kind, expected: String, found: String) -> E {
        *self.fault.borrow_mut() = Some(Refusal { kind, expected, found, path: Vec::new() });
        E::custom("refused")
    }

    /// Add a step to the path of a fault, if there is one.
    fn step(&self, name: impl FnOnce() -> String) {
        if let Some(refusal) = self.fault.borrow_mut().as_mut() {
            refusal.path.push(name());
        }
    }
}

/// One value at its depth: 0 for the whole document.
#[derive(Clone, Copy)]
struct Value<'a> {
    state: &'a State,
    depth: usize,
    shape: Option<&'a Shape>,
}

impl<'a> Value<'a> {
    fn within<E: serde_core::de::Error>(self) -> Result<Self, E> {
        if self.depth == self.state.most {
            let most = self.state.most;
            return Err(self.state.refuse(Kind::Depth, format!("at most {most} levels"), "more".to_owned()));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    /// Return the shape of a key's value, and whether the value must be null.
    fn member<E: serde_core::de::Error>(self, key: &str) -> Result<(Option<&'a Shape>, bool), E> {
        match self.shape.map_or(Known::Unknown, |shape| shape.look_up(key)) {
            Known::Field(shape) => Ok((shape, false)),
            Known::Unknown => Ok((None, false)),
            Known::Foreign => Ok((None, true)),
            Known::Misspelled(field) => {
                Err(self.state.refuse(Kind::Spelling, format!("the field {field}"), format!("{key:?}")))
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    /// Whether it is null.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let item = self.within()?;
        let mut index = 0_usize;
        loop {
            match items.next_element_seed(item) {
                Ok(Some(_)) => index += 1,
                Ok(None) => return Ok(false),
                Err(error) => {
                    self.state.step(|| format!("[{index}]"));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let value = self.within()?;
        let mut keys = HashSet::new();
        while let Some(key) = members.next_key_seed(Key)? {
            let (shape, refused) = self.member(&key)?;
            let value = Self { shape, ..value };
            let null = members.next_value_seed(value).inspect_err(|_| self.state.step(|| format!(".{key}")))?;
            if refused && !null {
                let expected = format!("{} only", self.shape.map_or("it", Shape::name));
                return Err(self.state.refuse(Kind::Foreign, expected, format!("the field {key} as well")));
            }
            if let Some(twice) = keys.replace(key) {
                let found = format!("the key {twice:?} twice");
                return Err(self.state.refuse(Kind::Duplicate, "each key once".to_owned(), found));
            }
        }
        Ok(false)
    }
}

/// A key with its escapes resolved, as readers compare it.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (Kind, String) {
        let fault = check(text.as_bytes(), 100, None).unwrap_err();
        (fault.kind, fault.path)
    }

    #[test]
    fn any_one_value_is_json() {
        for text in ["null", " [ ] ", "{}", "\"\\u00e9\"", "-0.5e3", "{\"a\":[{\"a\":1},{\"a\":true}],\"b\":{\"a\":2}}"]
        {
            assert_eq!(check(text.as_bytes(), 100, None), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_says_where() {
        let cut = "{\"a\": [1, 2";
        assert_eq!(fault(cut).0, Kind::Syntax);
        assert!(check(cut.as_bytes(), 100, None).unwrap_err().found.contains("line 1 column"));
        for text in ["", "{} {}", "nan", "[1,]", "{\"a\":1,}", "\"\\ud800\"", "\u{feff}{}", "1e999", "01", "'a'"] {
            assert_eq!(fault(text).0, Kind::Syntax, "{text}");
        }
        assert_eq!(check(b"\"\xff\"", 100, None).unwrap_err().kind, Kind::Syntax);
    }

    #[test]
    fn a_key_may_occur_once_per_object_however_it_is_written() {
        assert_eq!(fault("{\"a\":1,\"b\":2,\"a\":3}"), (Kind::Duplicate, "$".to_owned()));
        assert_eq!(fault("{\"l\":[0,{\"x\":{\"\\u0061\":1,\"a\":2}}]}"), (Kind::Duplicate, "$.l[1].x".to_owned()));
    }

    #[test]
    fn depth_is_allowed_to_the_limit_and_no_further() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nested(100).as_bytes(), 100, None), Ok(()));
        assert_eq!(check(nested(101).as_bytes(), 100, None).unwrap_err().kind, Kind::Depth);
        assert_eq!(check(nested(120).as_bytes(), 500, None), Ok(()));
        assert_eq!(check(nested(1_000_000).as_bytes(), 500, None).unwrap_err().kind, Kind::Depth);
    }
}
