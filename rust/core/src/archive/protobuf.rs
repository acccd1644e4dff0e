//! Where a large protobuf message can be cut, so that its parts can be parsed one after the other.
//!
//! A message is a sequence of fields, and a parser merges what it is given: fields in several parts mean what they mean in one.
//!
//! Spec: protobuf's encoding.

/// The most groups within each other, as in protobuf itself.
const MOST_DEPTH: usize = 100;

/// A part of a message, as positions in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte.
    pub start: usize,
    /// The end of its last byte.
    pub end: usize,
    /// The one field in it, if that is larger than a part may be and no group: its number, and the first byte of its value,
    /// which ends with the part.
    pub large: Option<(u32, usize)>,
}

/// Cuts a message into parts.
#[derive(Debug)]
pub struct Cutter<'a> {
    data: &'a [u8],
    most: usize,
    place: usize,
    run: usize,
    parts: Vec<Part>,
}

/// The bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Cutter<'a> {
    /// Cut a message into parts of at most `most` bytes, of as many whole fields as fit.
    pub fn new(data: &'a [u8], most: usize) -> Self {
        Self { data, most, place: 0, run: 0, parts: Vec::new() }
    }

    /// Go on for at most so many fields; return whether this was the end.
    pub fn step(&mut self, fields: usize) -> Result<bool, Malformed> {
        for _ in 0..fields {
            if self.place == self.data.len() {
                self.flush(self.place);
                return Ok(true);
            }
            self.field().ok_or(Malformed)?;
        }
        Ok(false)
    }

    /// The parts.
    pub fn into_parts(self) -> Vec<Part> {
        self.parts
    }

    fn field(&mut self) -> Option<()> {
        let start = self.place;
        let mut groups = Vec::new();
        let (large, end) = loop {
            let (number, kind, place) = self.key(self.place)?;
            let (value, end) = match kind {
                0 => (place, self.varint(place)?.1),
                1 => (place, place.checked_add(8)?),
                2 => {
                    let (size, value) = self.varint(place)?;
                    (value, value.checked_add(usize::try_from(size).ok()?)?)
                }
                3 if groups.len() < MOST_DEPTH => {
                    groups.push(number);
                    (place, place)
                }
                4 if groups.pop() == Some(number) => (place, place),
                5 => (place, place.checked_add(4)?),
                _ => return None,
            };
            if end > self.data.len() {
                return None;
            }
            self.place = end;
            if groups.is_empty() {
                break ((kind == 2).then_some((number, value)), end);
            }
        };
        if end - start > self.most {
            self.flush(start);
            self.parts.push(Part { start, end, large });
            self.run = end;
        } else if end - self.run > self.most {
            self.flush(start);
        }
        Some(())
    }

    /// Return the number and the wire type of a field, and where its value starts.
    fn key(&self, start: usize) -> Option<(u32, u64, usize)> {
        let (key, place) = self.varint(start)?;
        let number = u32::try_from(key).ok()? >> 3;
        (number > 0 && place - start <= 5).then_some((number, key & 7, place))
    }

    fn varint(&self, start: usize) -> Option<(u64, usize)> {
        let mut value = 0;
        for (place, shift) in (start..).zip((0..64).step_by(7)) {
            let octet = *self.data.get(place)?;
            value |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Some((value, place + 1));
            }
        }
        None
    }

    fn flush(&mut self, end: usize) {
        if self.run < end {
            self.parts.push(Part { start: self.run, end, large: None });
        }
        self.run = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(data: &[u8], most: usize) -> Result<Vec<Part>, Malformed> {
        let mut cutter = Cutter::new(data, most);
        while !cutter.step(1)? {}
        Ok(cutter.into_parts())
    }

    #[test]
    fn a_part_has_as_many_fields_as_fit() {
        // Fields 1 and 2, integers; 3, four bytes; 4, five bytes; 1, eight bytes; 2, an integer.
        let data = b"\x08\x01\x10\x96\x01\x1dabcd\x22\x05hello\x09abcdefgh\x10\x00";
        let part = |start, end| Part { start, end, large: None };
        let large = |start, end, field| Part { start, end, large: Some(field) };

        assert_eq!(cut(data, 100), Ok(vec![part(0, data.len())]));
        assert_eq!(cut(data, 10), Ok(vec![part(0, 10), part(10, 17), part(17, 26), part(26, 28)]));
        assert_eq!(cut(data, 6), Ok(vec![part(0, 5), part(5, 10), large(10, 17, (4, 12)), part(17, 26), part(26, 28)]));
        assert_eq!(cut(b"", 0), Ok(vec![]));
        assert_eq!(cut(b"\x0b\x13\x08\x00\x14\x0c\x08\x00", 7), Ok(vec![part(0, 6), part(6, 8)]));
    }

    #[test]
    fn bytes_that_are_no_fields_are_refused() {
        for data in [
            &b"\x08"[..],
            b"\x0b\x14",
            b"\x0b\x0b\x0c",
            b"\x0c",
            b"\x88\x80\x80\x80\x80\x00\x00",
            b"\x0a\x02a",
            b"\x00\x01",
            b"\x0dabc",
            b"\x09",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(cut(data, 0), Err(Malformed), "{data:?}");
        }
        assert_eq!(cut(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 0), Err(Malformed));
    }
}
