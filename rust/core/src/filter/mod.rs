//! containerd's filter language, compiled once, with numbers and times added.
//!
//! ```text
//! filter     = selector *( "," selector )            all of them must hold
//! selector   = field-path [ operator value ]         without an operator: the field is present
//! field-path = field *( "." field )
//! field      = 1*( ASCII letter / digit / "_" ) / quoted
//! operator   = "==" / "!=" / "~=" / "<" / "<=" / ">" / ">="
//! value      = quoted / 1*( graphic character but "," )
//! ```
//!
//! One of several filters must match; an empty list, or an empty filter, matches everything. `~=` is a regular expression
//! that is not anchored. `!=` is true for an absent field, and `~=` treats an absent field as the empty string. The ordering
//! operators do not exist in containerd, nor do the fields to which they apply: sizes in bytes and times.
//!
//! Spec: containerd's `pkg/filters`; `steelyard.filters` explains the language to users. Unlike in containerd, a regular
//! expression that does not compile is an error, which is found before anything is matched. `pattern.rs` has the limits of
//! the cost of a list of filters.

mod operand;
mod parse;
mod pattern;
mod quoted;
mod subject;

use std::cmp::Ordering;

use regex_automata::meta::Regex;

use crate::error::Result;
use operand::Kind;
use parse::{Operator, Selector};
use pattern::Budget;

pub use pattern::{MAX_COMPILED, MAX_EXPRESSION, MAX_FILTERS, MAX_NESTING, MAX_TEXT};
pub use subject::{Subject, Value};

/// A compiled list of filters.
#[derive(Clone, Debug)]
pub struct Filter {
    /// One of these must match; with `None`, everything matches.
    alternatives: Option<Vec<Vec<Test>>>,
    /// The bytes of its compiled regular expressions. In the worst case, a match reads all of them for each character.
    compiled: usize,
}

/// Expressions of more bytes than this are slow: in the worst case, a match takes about 5 ms for a label of 4 KiB.
const SLOW: usize = 256 << 10;

/// Whether the field at `path` is a time, so that a bare number there means nanoseconds since the epoch.
pub fn is_time(path: &[String]) -> bool {
    Kind::of(path) == Kind::Time
}

/// A compiled selector.
#[derive(Clone, Debug)]
struct Test {
    path: Vec<String>,
    condition: Condition,
}

#[derive(Clone, Debug)]
enum Condition {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
    /// For fields that are numbers or times: in bytes, or in microseconds since the epoch.
    Compares(Operator, i128),
}

impl Filter {
    /// Compile the filters. Fails with `InvalidFilter` for the first invalid one. This may take a second of processor time, so a
    /// caller releases its locks first.
    pub fn compile<T: AsRef<str>>(texts: &[T]) -> Result<Self> {
        check_bounds(texts)?;
        let mut budget = Budget::new();
        let mut everything = texts.is_empty();
        let mut alternatives = Vec::with_capacity(texts.len());
        for text in texts {
            let text = text.as_ref();
            // Filters after an empty one are still compiled, so that an error in them is reported.
            everything |= text.is_empty();
            if !text.is_empty() {
                let selectors = parse::selectors(text)?.into_iter();
                let compiled = selectors.map(|selector| Test::compile(text, selector, &mut budget));
                alternatives.push(compiled.collect::<Result<_>>()?);
            }
        }
        Ok(Self { alternatives: (!everything).then_some(alternatives), compiled: budget.spent() })
    }

    /// Whether the subject matches.
    pub fn matches(&self, subject: &dyn Subject) -> bool {
        let Some(alternatives) = &self.alternatives else {
            return true;
        };
        alternatives.iter().any(|tests| tests.iter().all(|test| test.holds(subject)))
    }

    /// The fields that the filters use.
    pub fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.alternatives.iter().flatten().flatten().map(|test| test.path.as_slice())
    }

    /// Whether it has regular expressions. Without them, a match only compares texts.
    pub fn has_expressions(&self) -> bool {
        self.compiled > 0
    }

    /// Whether a match may take milliseconds, so that few belong in one step.
    pub fn is_slow(&self) -> bool {
        self.compiled > SLOW
    }

    /// Whether the result depends on labels.
    pub fn asks_for_labels(&self) -> bool {
        self.paths().any(|path| path.first().is_some_and(|field| field == "labels"))
    }

    /// Return labels (keys and values) of which every match has at least one, for an index look-up. `None` if there is no such list
    /// for this filter.
    pub fn indexed_label(&self) -> Option<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        for tests in self.alternatives.as_ref()? {
            let pair = tests.iter().find_map(Test::label)?;
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        Some(pairs)
    }
}

impl Test {
    fn compile(text: &str, selector: Selector, budget: &mut Budget) -> Result<Self> {
        let Selector { path, comparison } = selector;
        let Some(parse::Comparison { operator, operator_at, value, value_at }) = comparison else {
            return Ok(Self { path, condition: Condition::Present });
        };
        let wrong = |at, reason| parse::wrong(text, at, reason);
        let kind = Kind::of(&path);
        let condition = match operator {
            Operator::Matches if kind != Kind::Text => {
                let reason = format!("{} is {kind}, which no regular expression matches: compare it", path.join("."));
                return Err(wrong(operator_at, reason));
            }
            Operator::Matches => Condition::Matches(budget.compile(&value).map_err(|reason| wrong(value_at, reason))?),
            _ if kind != Kind::Text => {
                let operand = kind.parse(&value).ok_or_else(|| wrong(value_at, kind.expected(&path, &value)))?;
                Condition::Compares(operator, operand)
            }
            Operator::Equal => Condition::Equal(value),
            Operator::NotEqual => Condition::NotEqual(value),
            _ => {
                let reason = format!("{} is text, which has no order: use ==, != or ~=", path.join("."));
                return Err(wrong(operator_at, reason));
            }
        };
        Ok(Self { path, condition })
    }

    fn holds(&self, subject: &dyn Subject) -> bool {
        let value = subject.field(&self.path);
        match &self.condition {
            Condition::Present => value.is_some(),
            Condition::Equal(expected) => value.as_ref().and_then(Value::text) == Some(expected),
            Condition::NotEqual(expected) => value.as_ref().and_then(Value::text) != Some(expected),
            Condition::Matches(pattern) => pattern.is_match(value.as_ref().and_then(Value::text).unwrap_or_default()),
            Condition::Compares(operator, expected) => match value.as_ref().and_then(Value::number) {
                Some(number) => operator.holds(number.cmp(expected)),
                None => *operator == Operator::NotEqual,
            },
        }
    }

    fn label(&self) -> Option<(String, String)> {
        match &self.condition {
            Condition::Equal(value) => Some((subject::label_key(&self.path)?.into_owned(), value.clone())),
            _ => None,
        }
    }
}

/// Refuse a list that is too long before anything is copied or parsed.
fn check_bounds<T: AsRef<str>>(texts: &[T]) -> Result<()> {
    if let Some(text) = texts.get(MAX_FILTERS) {
        let reason = format!("a list of {} filters, at most {MAX_FILTERS} are allowed", texts.len());
        return Err(parse::wrong(text.as_ref(), 0, reason));
    }
    let size = texts.iter().map(|text| text.as_ref().len()).sum::<usize>();
    let longest = texts.iter().map(AsRef::as_ref).max_by_key(|text| text.len());
    match longest.filter(|_| size > MAX_TEXT) {
        Some(text) => {
            let reason = format!("the filters of the list have {size} bytes together, at most {MAX_TEXT} are allowed");
            Err(parse::wrong(text, 0, reason))
        }
        None => Ok(()),
    }
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Matches => false,
        }
    }
}

#[cfg(test)]
mod tests;
