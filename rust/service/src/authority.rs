//! Makes the `:authority` of clients that are built on gRPC's C core acceptable to h2.
//!
//! For a Unix socket they send its path, with `%2F` for each slash. Outside of user names h2 takes no `%` there, and resets the call.
//! A call's authority has no meaning on a Unix socket, so each `%` of it becomes a `-` on the way in. Lengths stay as they are, and so does
//! the table of known headers, which both sides keep.
//!
//! Spec: RFC 9113 section 4.1 and 6.2 for frames, RFC 7541 section 6 for headers.

/// The bytes of a connection's preface, which comes before the first frame.
const PREFACE: usize = 24;
/// The bytes before the payload of a frame.
const HEAD: usize = 9;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// The header, and its place in the table of static headers. The C core gives its name in full.
const NAME: &[u8] = b":authority";
const AUTHORITY: u64 = 1;
/// A string that is not compressed has this bit not set.
const HUFFMAN: u8 = 0x80;

/// A look at all that a client sends.
pub(crate) struct Authority {
    frame: Frame,
    field: Field,
}

/// Where in a frame the next byte is.
enum Frame {
    /// Before the first frame, with so many bytes to come.
    Preface(usize),
    /// In its head, of which so many bytes are known.
    Head(usize, [u8; HEAD]),
    /// In a part that is passed over, then in its headers: bytes of each, and of the padding after them.
    Payload { skip: usize, headers: usize, padding: usize, is_padded: bool },
}

/// Where in a header the next byte is.
#[derive(Clone, Copy)]
enum Field {
    Start,
    /// In a number of several bytes, and what it is.
    Number {
        value: u64,
        shift: u32,
        then: Then,
    },
    /// At the length of a name, whose value comes after it.
    Name,
    /// At the length of a value.
    Value {
        is_authority: bool,
    },
    /// In the name of a header with so many bytes to come, of which so many are those of `NAME`.
    InName {
        left: u64,
        known: Option<usize>,
    },
    /// In a value with so many bytes to come.
    InValue {
        left: u64,
        is_changed: bool,
    },
}

/// The meaning of a number.
#[derive(Clone, Copy)]
enum Then {
    /// A header of the tables, whole.
    Whole,
    /// The place of a name in the tables; 0: it follows.
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

    /// Look at what has come, and change what has to be. Returns how many frames have begun; one of SETTINGS, which may
    /// change the window of each call, counts as 64.
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

    /// Go on in the payload of a frame; return how many bytes were looked at.
    fn in_payload(&mut self, bytes: &mut [u8]) -> usize {
        let Frame::Payload { skip, headers, padding, is_padded } = &mut self.frame else { return 0 };
        if *is_padded {
            // The first byte of the part that is passed over.
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

/// The parts of a frame, by its head.
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
    /// Where the byte after this one is. The byte is changed if it has to be.
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

/// A number whose first byte is this one.
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
