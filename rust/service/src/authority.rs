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

    /// Look at what has come, and change what has to be.
    pub(crate) fn pass(&mut self, mut bytes: &mut [u8]) {
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
mod tests {
    use super::Authority;

    /// A frame of a type with flags and a payload.
    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A header of which the name is in the tables.
    fn header(place: u8, value: &[u8]) -> Vec<u8> {
        [&[0x40 | place, u8::try_from(value.len()).unwrap()], value].concat()
    }

    fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat()
    }

    /// These bytes as h2 gets them, in whatever parts they come.
    fn passed(bytes: &[u8]) -> Vec<u8> {
        let mut whole = bytes.to_vec();
        Authority::new().pass(&mut whole);
        for size in [1, 2, 7] {
            let mut parts = bytes.to_vec();
            let mut authority = Authority::new();
            parts.chunks_mut(size).for_each(|part| authority.pass(part));
            assert_eq!(whole, parts);
        }
        whole
    }

    #[test]
    fn a_path_in_the_authority_is_changed_and_nothing_else_is() {
        let path = header(4, b"/a%2Fb");
        let long = [&[0x40, 3][..], b"x%y", &[0x7F, 0xA0, 0x01], &[b'%'; 287]].concat();
        let before = [vec![0x83, 0x86], path, header(1, b"tmp%2Fs%2Ft"), long].concat();
        let after = [vec![0x83, 0x86], header(4, b"/a%2Fb"), header(1, b"tmp-2Fs-2Ft")].concat();
        let frames = |headers: &[u8]| [frame(4, 0, b"%%%%%%"), frame(1, 4, headers), frame(0, 1, b"\x41\x01%")];

        let found = passed(&connection(&frames(&before)));
        let expected = connection(&frames(&[after, before[before.len() - 295..].to_vec()].concat()));

        assert_eq!(expected, found);
    }

    #[test]
    fn a_name_that_is_given_in_full_is_found() {
        let named = |name: &[u8]| [&[0x40, u8::try_from(name.len()).unwrap()], name, &[3], b"a%b"].concat();
        for (name, value) in [(&b":authority"[..], b"a-b"), (b":authoritz", b"a%b"), (b":authority2", b"a%b")] {
            assert!(passed(&connection(&[frame(1, 4, &named(name))])).ends_with(value));
        }
    }

    #[test]
    fn padding_priorities_and_continuations_are_passed_over() {
        let (first, second) = (header(1, b"a%b"), header(1, b"c%d"));
        let padded = [&[2, 0, 0, 0, 0, 16][..], &first[..3], b"%%"].concat();
        let rest = [&first[3..], &second].concat();
        let found = passed(&connection(&[frame(1, 0x28, &padded), frame(9, 4, &rest)]));

        assert!(found.ends_with(&header(1, b"c-d")));
        assert!(found.windows(2).any(|pair| pair == b"%%"));
        assert!(!found.windows(3).any(|part| part == b"a%b"));
    }

    #[test]
    fn a_compressed_authority_is_left_as_it_is() {
        let mut compressed = header(1, b"%%%");
        compressed[1] |= 0x80;
        let bytes = connection(&[frame(1, 4, &compressed)]);

        assert_eq!(bytes, passed(&bytes));
    }
}
