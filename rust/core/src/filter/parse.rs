//! Parses text to selectors. As in containerd: where spaces are allowed, where a value ends, and how far an operator extends.

use std::sync::LazyLock;

use regex_automata::meta::Regex;

use super::quoted;
use crate::error::{Error, Result};

/// A field and its condition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) path: Vec<String>,
    /// `None`: the field must be present.
    pub(super) comparison: Option<Comparison>,
}

/// A comparison with a value. Positions are in bytes from the start of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) operator: Operator,
    pub(super) operator_at: usize,
    pub(super) value: String,
    pub(super) value_at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Matches,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            "~=" => Self::Matches,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }
}

/// Parse a text that is not empty.
pub(super) fn selectors(text: &str) -> Result<Vec<Selector>> {
    let mut parser = Parser { text, rest: text };
    let mut found = vec![parser.selector()?];
    loop {
        match parser.peek() {
            None => return Ok(found),
            Some(',') => {
                parser.skip(1);
                found.push(parser.selector()?);
            }
            // This includes a space: it is allowed before a token, but not before a comma or at the end.
            Some(character) => {
                return Err(parser.wrong(&format!("expected a comma or the end, found {character:?}")));
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Selector> {
        let mut path = vec![self.field()?];
        while self.peek() == Some('.') {
            self.skip(1);
            path.push(self.field()?);
        }
        if matches!(self.peek(), None | Some(',')) {
            return Ok(Selector { path, comparison: None });
        }
        self.skip_spaces();
        let operator_at = self.at();
        let operator = self.operator()?;
        self.skip_spaces();
        let value_at = self.at();
        let value = self.value(operator)?;
        Ok(Selector { path, comparison: Some(Comparison { operator, operator_at, value, value_at }) })
    }

    fn field(&mut self) -> Result<String> {
        self.skip_spaces();
        match self.peek() {
            Some('"') => self.quoted('"'),
            Some('/' | '|') => Err(self.wrong("only \" quotes a field")),
            _ => {
                let name = self.run(|character| character.is_ascii_alphanumeric() || character == '_');
                if name.is_empty() { Err(self.wrong("expected a field")) } else { Ok(name.to_owned()) }
            }
        }
    }

    /// Parse an operator: the longest run of operator characters must be one, so `a===b` is invalid.
    fn operator(&mut self) -> Result<Operator> {
        let before = self.rest;
        // `<` and `>` are not operators in containerd. After one of containerd's operators they begin the value, as they do there.
        let ordering = self.peek().is_some_and(|character| matches!(character, '<' | '>'));
        let run =
            self.run(|character| matches!(character, '=' | '!' | '~') || ordering && matches!(character, '<' | '>'));
        if let Some(operator) = Operator::parse(run) {
            return Ok(operator);
        }
        self.rest = before;
        Err(self.wrong(&match (run, self.peek()) {
            ("", Some('-' | '/')) => {
                "a field with other characters than letters, digits and _ stands in \"\"".to_owned()
            }
            ("", _) => "expected an operator (==, !=, ~=, <, <=, >, >=), a comma or the end".to_owned(),
            _ => format!("no such operator: {run}"),
        }))
    }

    fn value(&mut self, operator: Operator) -> Result<String> {
        match self.peek() {
            Some('"') => self.quoted('"'),
            Some(quote @ ('/' | '|')) if operator == Operator::Matches => self.quoted(quote),
            Some('/' | '|') => Err(self.wrong("/ and | quote only the value of ~=: use \"")),
            // A value that begins with these characters needs quotes: otherwise they would be part of the operator.
            Some('=' | '!' | '~') => Err(self.wrong("expected a value; one that begins so stands in \"\"")),
            _ => {
                let value = self.run(is_value);
                if value.is_empty() { Err(self.wrong("expected a value")) } else { Ok(value.to_owned()) }
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        match quoted::unquote(&self.rest[1..], quote) {
            Ok((text, size)) => {
                self.skip(size + 1);
                Ok(text)
            }
            Err(wrong) => {
                self.skip(wrong.at.map_or(0, |at| at + 1));
                Err(self.wrong(wrong.reason))
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn run(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|character| !part(character)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        run
    }

    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    fn wrong(&self, reason: &str) -> Error {
        let reason = match self.peek() {
            Some('\0') => "a NUL character",
            Some(char::REPLACEMENT_CHARACTER) => "not valid Unicode",
            _ => reason,
        };
        wrong(self.text, self.at(), reason.to_owned())
    }
}

/// Return the error for a position in a filter. The position is given in bytes and reported in characters.
pub(super) fn wrong(text: &str, at: usize, reason: String) -> Error {
    Error::InvalidFilter { text: text.to_owned(), position: text[..at].chars().count(), reason }
}

/// Whether a character may be in a value: Go's graphic characters (letters, marks, numbers, punctuation and symbols) except the comma.
fn is_value(character: char) -> bool {
    static GRAPHIC: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"[\p{L}\p{M}\p{N}\p{P}\p{S}]").expect("a constant that the tests compile"));
    match character {
        ',' | char::REPLACEMENT_CHARACTER => false,
        '!'..='~' => true,
        _ if character.is_ascii() => false,
        _ => GRAPHIC.is_match(&*character.encode_utf8(&mut [0; 4])),
    }
}
