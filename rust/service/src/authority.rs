//! Makes the `:authority` of clients that are built on gRPC's C core acceptable to h2.
//!
//! On a Unix socket these clients send the path of the socket as the authority, with `%2F` for each slash. h2 accepts `%` only in the user
//! name of an authority, and resets such a call. The authority has no meaning on a Unix socket, so each `%` in it is replaced by `-` before
//! h2 reads it. Lengths do not change, and the table of known headers on both sides stays the same.
//!
//! Spec: RFC 9113 section 4.1 and 6.2 for frames, RFC 7541 section 6 for headers.

/// Bytes of the connection preface, which precedes the first frame.
const PREFACE: usize = 24;
/// The bytes before the payload of a frame.
const HEAD: usize = 9;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// The name of the header, and its index in the static table. gRPC's C core sends the name as a literal.
const NAME: &[u8] = b":authority";
const AUTHORITY: u64 = 1;
/// This bit is set in the length of a Huffman-coded string and clear in that of a plain one.
const HUFFMAN: u8 = 0x80;

/// Follows all bytes that a client sends, and replaces those of the authority.
pub(crate) struct Authority {
    frame: Frame,
    field: Field,
}

/// The position of the next byte in a frame.
enum Frame {
    /// In the preface, with this many bytes left.
    Preface(usize),
    /// In the frame header: the number of bytes read so far, and those bytes.
    Head(usize, [u8; HEAD]),
    /// In the payload: the bytes left of a skipped part, of the header block after it, and of the padding at the end.
    Payload { skip: usize, headers: usize, padding: usize, is_padded: bool },
}

/// The position of the next byte in a header.
#[derive(Clone, Copy)]
enum Field {
    Start,
    /// In a number of several bytes, with its meaning.
    Number {
        value: u64,
        shift: u32,
        then: Then,
    },
    /// At the length of a name; the name and its value follow.
    Name,
    /// At the length of a value.
    Value {
        is_authority: bool,
    },
    /// In the name of a header, with `left` bytes to come. The bytes so far are the first `known` bytes of `NAME`; `None`: they differ.
    InName {
        left: u64,
        known: Option<usize>,
    },
    /// In a value, with `left` bytes to come.
    InValue {
        left: u64,
        is_changed: bool,
    },
}

/// The meaning of a number.
#[derive(Clone, Copy)]
enum Then {
    /// The index of a complete header in the tables, or a new size of the table: no name and no value follow.
    Whole,
    /// The index of a name in the tables; 0 if the name follows.
    NamePlace,
    /// The length of a name.
    NameLength { is_plain: bool },
    /// The length of a value.
    ValueLength { is_changed: bool },
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self { frame: Frame::Preface(PREFACE), field: Field::Start }
    }

    /// Process received bytes, and replace those that h2 would refuse. Returns how many frames have been begun. A SETTINGS frame may
    /// change the window of every call, so it counts as 64.
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) -> usize {
        let mut frames = 0;
        while !bytes.is_empty() {
            let taken = match &mut self.frame {
                Frame::Preface(left) => {
                    let taken = (*left).min(bytes.len());
                    *left -= taken;
                    if *left == 0 {
                        self.frame = Frame::Head(0, [0; HEAD]);
                    }
                    taken
                }
                Frame::Head(known, head) => {
                    let taken = (HEAD - *known).min(bytes.len());
                    head[*known..*known + taken].copy_from_slice(&bytes[..taken]);
                    *known += taken;
                    if *known == HEAD {
                        frames += if head[3] == SETTINGS { 64 } else { 1 };
                        self.frame = payload(head);
                    }
                    taken
                }
                Frame::Payload { .. } => self.in_payload(bytes),
            };
            bytes = &mut bytes[taken..];
            if matches!(self.frame, Frame::Payload { skip: 0, headers: 0, padding: 0, .. }) {
                self.frame = Frame::Head(0, [0; HEAD]);
            }
        }
        frames
    }

    /// Process bytes of a payload; return how many.
    fn in_payload(&mut self, bytes: &mut [u8]) -> usize {
        let Frame::Payload { skip, headers, padding, is_padded } = &mut self.frame else { return 0 };
        if *is_padded {
            // The length of the padding is the first byte of the skipped part.
            *is_padded = false;
            *padding = usize::from(bytes[0]).min(*headers);
            *headers -= *padding;
        }
        if *skip > 0 {
            let taken = (*skip).min(bytes.len());
            *skip -= taken;
            return taken;
        }
        if *headers > 0 {
            let taken = (*headers).min(bytes.len());
            *headers -= taken;
            for byte in &mut bytes[..taken] {
                self.field = self.field.next(byte);
            }
            return taken;
        }
        let taken = (*padding).min(bytes.len());
        *padding -= taken;
        taken
    }
}

/// The parts of a payload, given the frame header.
fn payload(head: &[u8; HEAD]) -> Frame {
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let (kind, flags) = (head[3], head[4]);
    if kind != HEADERS && kind != CONTINUATION {
        return Frame::Payload { skip: length, headers: 0, padding: 0, is_padded: false };
    }
    let has = |flag: u8| kind == HEADERS && flags & flag != 0;
    let skip = (usize::from(has(PADDED)) + 5 * usize::from(has(PRIORITY))).min(length);
    Frame::Payload { skip, headers: length - skip, padding: 0, is_padded: has(PADDED) && length > 0 }
}

impl Field {
    /// Process a byte, and replace it if necessary. Returns the position of the byte after it.
    fn next(self, byte: &mut u8) -> Self {
        match self {
            Self::Start => match *byte {
                first if first & 0x80 != 0 => number(first, 0x7F, Then::Whole),
                first if first & 0x40 != 0 => number(first, 0x3F, Then::NamePlace),
                first if first & 0x20 != 0 => number(first, 0x1F, Then::Whole),
                first => number(first, 0x0F, Then::NamePlace),
            },
            Self::Number { value, shift, then } => {
                let value = value.saturating_add(u64::from(*byte & 0x7F).checked_shl(shift).unwrap_or(u64::MAX));
                if *byte & 0x80 == 0 { then.follow(value) } else { Self::Number { value, shift: shift + 7, then } }
            }
            Self::Name => number(*byte, 0x7F, Then::NameLength { is_plain: *byte & HUFFMAN == 0 }),
            Self::Value { is_authority } => {
                number(*byte, 0x7F, Then::ValueLength { is_changed: is_authority && *byte & HUFFMAN == 0 })
            }
            Self::InName { left, known } => {
                let known = known.filter(|known| NAME.get(*known) == Some(byte)).map(|known| known + 1);
                name(left - 1, known)
            }
            Self::InValue { left, is_changed } => {
                if is_changed && *byte == b'%' {
                    *byte = b'-';
                }
                value(left - 1, is_changed)
            }
        }
    }
}

/// Begin a number with its first byte.
fn number(first: u8, mask: u8, then: Then) -> Field {
    let value = first & mask;
    if value == mask { Field::Number { value: value.into(), shift: 0, then } } else { then.follow(value.into()) }
}

impl Then {
    fn follow(self, value: u64) -> Field {
        match self {
            Self::Whole => Field::Start,
            Self::NamePlace if value == 0 => Field::Name,
            Self::NamePlace => Field::Value { is_authority: value == AUTHORITY },
            Self::NameLength { is_plain } => name(value, is_plain.then_some(0)),
            Self::ValueLength { is_changed } => self::value(value, is_changed),
        }
    }
}

fn name(left: u64, known: Option<usize>) -> Field {
    if left == 0 { Field::Value { is_authority: known == Some(NAME.len()) } } else { Field::InName { left, known } }
}

fn value(left: u64, is_changed: bool) -> Field {
    if left == 0 { Field::Start } else { Field::InValue { left, is_changed } }
}

#[cfg(test)]
mod tests;
