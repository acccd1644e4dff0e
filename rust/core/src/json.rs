//! Whether bytes from outside are JSON that every reader reads alike.
//!
//! Readers differ on keys that occur twice, on texts that are no Unicode and on how deep they follow; who can choose the
//! reader then chooses the meaning. So such documents are refused before anything else reads them. Memory is bounded by
//! the keys of the objects that are open, time is linear.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde_core::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// The most values within values that [`check`] can be asked to follow; the parser itself ends at 128.
pub const MOST_DEPTH: usize = 120;

/// How a document is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is no JSON.
    Syntax,
    /// An object has a key twice.
    Duplicate,
    /// Values stand too deep within values.
    Depth,
}

impl Kind {
    /// Its name, for the Python package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Duplicate => "duplicate",
            Self::Depth => "depth",
        }
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How it is wrong.
    pub kind: Kind,
    /// The value it is wrong in, as a JSON path; `$` for syntax.
    pub path: String,
    /// For people: the key that occurs twice, or what the parser says.
    pub found: String,
}

/// Refuse what is not strict JSON: one value, keys unique, at most `depth` arrays and objects within each other.
pub fn check(data: &[u8], depth: usize) -> Result<(), Fault> {
    let state = State { most: depth.min(MOST_DEPTH), fault: RefCell::new(None) };
    let mut parser = serde_json::Deserializer::from_slice(data);
    let result = Value { state: &state, depth: 0 }.deserialize(&mut parser).and_then(|()| parser.end());
    let Err(error) = result else {
        return Ok(());
    };
    Err(match state.fault.into_inner() {
        Some(Refusal { kind, found, mut path }) => {
            path.push("$".to_owned());
            path.reverse();
            Fault { kind, path: path.concat(), found }
        }
        None => Fault { kind: Kind::Syntax, path: "$".to_owned(), found: error.to_string() },
    })
}

struct State {
    most: usize,
    fault: RefCell<Option<Refusal>>,
}

/// A fault of ours; its path is put together on the way out, innermost first.
struct Refusal {
    kind: Kind,
    found: String,
    path: Vec<String>,
}

impl State {
    fn refuse<E: serde_core::de::Error>(&self, kind: Kind, found: String) -> E {
        *self.fault.borrow_mut() = Some(Refusal { kind, found, path: Vec::new() });
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
}

impl Value<'_> {
    fn within<E: serde_core::de::Error>(self) -> Result<Self, E> {
        if self.depth == self.state.most {
            return Err(self.state.refuse(Kind::Depth, format!("more than {} levels", self.state.most)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let item = self.within()?;
        let mut index = 0_usize;
        loop {
            match items.next_element_seed(item) {
                Ok(Some(())) => index += 1,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.state.step(|| format!("[{index}]"));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let value = self.within()?;
        let mut keys = HashSet::new();
        while let Some(key) = members.next_key_seed(Key)? {
            members.next_value_seed(value).inspect_err(|_| self.state.step(|| format!(".{key}")))?;
            if let Some(twice) = keys.replace(key) {
                return Err(self.state.refuse(Kind::Duplicate, format!("the key {twice:?} twice")));
            }
        }
        Ok(())
    }
}

/// A key, with its escapes resolved: that is what readers compare.
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
        let fault = check(text.as_bytes(), 100).unwrap_err();
        (fault.kind, fault.path)
    }

    #[test]
    fn any_one_value_is_json() {
        for text in ["null", " [ ] ", "{}", "\"\\u00e9\"", "-0.5e3", "{\"a\":[{\"a\":1},{\"a\":true}],\"b\":{\"a\":2}}"]
        {
            assert_eq!(check(text.as_bytes(), 100), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_says_where() {
        let cut = "{\"a\": [1, 2";
        assert_eq!(fault(cut).0, Kind::Syntax);
        assert!(check(cut.as_bytes(), 100).unwrap_err().found.contains("line 1 column"));
        for text in ["", "{} {}", "nan", "[1,]", "{\"a\":1,}", "\"\\ud800\"", "\u{feff}{}", "1e999", "01", "'a'"] {
            assert_eq!(fault(text).0, Kind::Syntax, "{text}");
        }
        assert_eq!(check(b"\"\xff\"", 100).unwrap_err().kind, Kind::Syntax);
    }

    #[test]
    fn a_key_may_occur_once_per_object_however_it_is_written() {
        assert_eq!(fault("{\"a\":1,\"b\":2,\"a\":3}"), (Kind::Duplicate, "$".to_owned()));
        assert_eq!(fault("{\"l\":[0,{\"x\":{\"\\u0061\":1,\"a\":2}}]}"), (Kind::Duplicate, "$.l[1].x".to_owned()));
    }

    #[test]
    fn depth_is_allowed_to_the_limit_and_no_further() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nested(100).as_bytes(), 100), Ok(()));
        assert_eq!(check(nested(101).as_bytes(), 100).unwrap_err().kind, Kind::Depth);
        assert_eq!(check(nested(120).as_bytes(), 500), Ok(()));
        assert_eq!(check(nested(1_000_000).as_bytes(), 500).unwrap_err().kind, Kind::Depth);
    }
}
