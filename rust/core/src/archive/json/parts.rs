//! Finds the positions where a large document can be cut, so that its parts can be decoded one after another.

use super::MOST_DEPTH;

/// An array or object that is too large for one part, cut into parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Parts {
    /// Whether it is an object.
    pub is_object: bool,
    /// Its content in order. The commas between two parts belong to neither.
    pub parts: Vec<Part>,
}

/// A part of an array or object, as positions in the document.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// As many elements or members as fit, with the commas between them; or a single one with a large string or number.
    Run {
        /// Its first byte.
        start: usize,
        /// The end of its last byte.
        end: usize,
    },
    /// An array or object that is too large for a part.
    Large {
        /// Its key, in an object.
        key: Option<String>,
        /// Its first byte.
        start: usize,
        /// The end of its last byte.
        end: usize,
        /// Its content.
        parts: Parts,
    },
}

/// Cut a document into parts of at most `most` bytes.
///
/// Only brackets, strings and commas are parsed, so the parts are correct only if the document is JSON. Returns `None` if there is
/// nothing to cut, or if the document is not JSON or too deep; a decoder then reports the fault.
pub fn parts(data: &[u8], most: usize) -> Option<Parts> {
    let mut scan = Scan { data, most, open: Vec::new(), document: None };
    let mut place = 0;
    while let Some(&octet) = data.get(place) {
        let start = place;
        place += 1;
        match octet {
            _ if is_space(octet) => {}
            b'[' | b'{' => scan.enter(start, octet == b'{')?,
            b']' | b'}' => {
                scan.leave(start, octet == b'}')?;
                if scan.open.is_empty() {
                    return scan.document.filter(|_| data[place..].iter().copied().all(is_space));
                }
            }
            b',' => {
                let top = scan.open.last_mut()?;
                top.end_element(data, most)?;
                top.after_comma = true;
            }
            b':' => scan.open.last_mut()?.end_key()?,
            b'"' => {
                place = end_of_string(data, place)?;
                scan.open.last_mut()?.token(start, place)?;
            }
            _ => {
                while data.get(place).is_some_and(|&octet| !is_space(octet) && !b"[]{},:\"".contains(&octet)) {
                    place += 1;
                }
                scan.open.last_mut()?.token(start, place)?;
            }
        }
    }
    None
}

fn is_space(octet: u8) -> bool {
    b" \t\n\r".contains(&octet)
}

/// Return the end of a string whose first character is at `place`.
fn end_of_string(data: &[u8], mut place: usize) -> Option<usize> {
    loop {
        match data.get(place)? {
            b'"' => return Some(place + 1),
            b'\\' => place += 2,
            _ => place += 1,
        }
    }
}

struct Scan<'a> {
    data: &'a [u8],
    most: usize,
    open: Vec<Open>,
    document: Option<Parts>,
}

impl Scan<'_> {
    fn enter(&mut self, start: usize, is_object: bool) -> Option<()> {
        if self.open.len() == MOST_DEPTH {
            return None;
        }
        if let Some(top) = self.open.last_mut() {
            top.token(start, start)?;
        }
        self.open.push(Open { start, is_object, ..Open::default() });
        Some(())
    }

    /// End the innermost array or object.
    fn leave(&mut self, place: usize, is_object: bool) -> Option<()> {
        let mut inner = self.open.pop()?;
        if inner.is_object != is_object {
            return None;
        }
        if inner.first.is_some() || inner.after_comma {
            inner.end_element(self.data, self.most)?;
        }
        inner.flush();
        let (start, end) = (inner.start, place + 1);
        let found = Parts { is_object, parts: inner.parts };
        let Some(outer) = self.open.last_mut() else {
            self.document = Some(found);
            return Some(());
        };
        outer.end = end;
        if end - outer.first.unwrap_or(start) > self.most {
            outer.large = Some((start, end, found));
        }
        Some(())
    }
}

/// An array or object that has not ended yet.
#[derive(Default)]
struct Open {
    start: usize,
    is_object: bool,
    parts: Vec<Part>,
    /// The elements since the last part.
    run: Option<(usize, usize)>,
    /// Where the current element or member starts.
    first: Option<usize>,
    /// The end of its last token.
    end: usize,
    /// The end of its key.
    key: Option<usize>,
    /// The large array or object, if its value is one.
    large: Option<(usize, usize, Parts)>,
    after_comma: bool,
}

impl Open {
    /// Skip a token. Nothing follows a large value in one element.
    fn token(&mut self, start: usize, end: usize) -> Option<()> {
        if self.large.is_some() {
            return None;
        }
        self.first.get_or_insert(start);
        self.end = end;
        Some(())
    }

    fn end_key(&mut self) -> Option<()> {
        if !self.is_object || self.key.is_some() || self.first.is_none() {
            return None;
        }
        self.key = Some(self.end);
        Some(())
    }

    fn end_element(&mut self, data: &[u8], most: usize) -> Option<()> {
        let first = self.first.take()?;
        let key = self.key.take();
        self.after_comma = false;
        if let Some((start, end, parts)) = self.large.take() {
            let key = match key {
                Some(key_end) => {
                    let between = data.get(key_end..start)?;
                    if between.iter().any(|&octet| !is_space(octet) && octet != b':') {
                        return None;
                    }
                    Some(serde_json::from_slice(data.get(first..key_end)?).ok()?)
                }
                None if self.is_object || first != start => return None,
                None => None,
            };
            self.flush();
            self.parts.push(Part::Large { key, start, end, parts });
            return Some(());
        }
        match &mut self.run {
            Some((start, end)) if self.end - *start <= most => *end = self.end,
            _ => {
                self.flush();
                self.run = Some((first, self.end));
            }
        }
        Some(())
    }

    fn flush(&mut self) {
        if let Some((start, end)) = self.run.take() {
            self.parts.push(Part::Run { start, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Put the parts together again.
    fn joined(text: &str, found: &Parts) -> String {
        let each = found.parts.iter().map(|part| match part {
            Part::Run { start, end } => text[*start..*end].to_owned(),
            Part::Large { key, start, end, parts } => {
                assert!(text[*start..*end].starts_with(if parts.is_object { '{' } else { '[' }));
                let key = key.as_ref().map(|key| format!("{}:", serde_json::to_string(key).unwrap()));
                key.unwrap_or_default() + &joined(text, parts)
            }
        });
        let inner = each.collect::<Vec<_>>().join(",");
        if found.is_object { format!("{{{inner}}}") } else { format!("[{inner}]") }
    }

    fn runs(found: &Parts, sizes: &mut Vec<usize>) {
        for part in &found.parts {
            match part {
                Part::Run { start, end } => sizes.push(end - start),
                Part::Large { parts, .. } => runs(parts, sizes),
            }
        }
    }

    #[test]
    fn the_parts_are_the_document_and_as_small_as_asked_for() {
        let text = r#" {"a" : [1, 22, {"b": "]}\",{"}, [[], {}, [4, 5]]], "\u0063\"" : {"d": [6, 7, 8, 9, true]}, "e": null} "#;
        let plain: String = text.replace("\\u0063", "c").split(' ').collect();
        for most in 0..text.len() {
            let found = parts(text.as_bytes(), most).unwrap();
            let together: String = joined(text, &found).replace("\\u0063", "c").split(' ').collect();
            assert_eq!(together, plain, "{most}");
            let mut sizes = Vec::new();
            runs(&found, &mut sizes);
            assert!(sizes.iter().all(|&size| size <= most.max(18)), "{most} {sizes:?}");
        }
    }

    #[test]
    fn what_is_no_json_around_a_part_is_not_cut() {
        for text in [
            "",
            "1",
            "\"[1]\"",
            "[1,[2]",
            "[1]]",
            "[[1]}",
            "[1],",
            "[[1],]",
            "[,[1]]",
            "[[1],,[1]]",
            "[[1][1]]",
            "[[1]1]",
            "[1[1]]",
            "[\"1\":[1]]",
            "{[1]}",
            "{\"a\"[1]}",
            "{a:[1]}",
            "{\"a\"::[1]}",
            "{\"a\":1[1]}",
            "{\"a\" \"b\":[1]}",
            "\"",
            "[\"\\",
            "{:[1]}",
        ] {
            assert_eq!(parts(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(parts("[".repeat(1 << 20).as_bytes(), 0), None);
    }
}
