//! The parser gives what prost's own decoder gives, whatever the order of the fields and wherever the bytes are cut, or refuses.

use std::collections::VecDeque;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::{DATA, HEAD, Incoming, LABELS, Source, WHOLE, receive, receive_labels};
use crate::call::End;
use crate::grpc::code::Code;
use crate::grpc::receive::{Broken, Pieces, Receiver};
use crate::proto::content::WriteContentRequest;

/// The most bytes of a message.
const MOST: usize = 1 << 20;

/// The bytes that a client has sent, in pieces.
struct Sent(VecDeque<Bytes>);

impl Pieces for Sent {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        Ok(self.0.pop_front())
    }
}

impl Source for Receiver<Sent> {
    async fn length(&mut self) -> Result<Option<usize>, End> {
        Receiver::length(self).await.map_err(|_| End::Gone(Code::Cancelled))
    }

    async fn exactly(&mut self, size: usize) -> Result<Bytes, End> {
        Receiver::exactly(self, size).await.map_err(|_| End::Gone(Code::Cancelled))
    }
}

/// These bytes in pieces of such sizes, again and again.
fn cut(mut bytes: Bytes, sizes: &[usize]) -> Receiver<Sent> {
    let mut pieces = VecDeque::new();
    for size in sizes.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        pieces.push_back(bytes.split_to((*size).min(bytes.len())));
    }
    Receiver::new(Sent(pieces), MOST)
}

/// These bytes with the prefix of a message.
fn prefixed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.extend_from_slice(message);
    bytes.freeze()
}

/// The next message as a Write call takes it, put together; None at the end.
async fn whole(source: &mut Receiver<Sent>) -> Result<Option<WriteContentRequest>, End> {
    let Some(Incoming { mut request, rest }) = receive(source).await? else { return Ok(None) };
    if let Some(rest) = rest {
        let mut data = BytesMut::from(&request.data[..]);
        let mut left = rest.data;
        while left > 0 {
            let piece = source.piece(left).await.map_err(|_| End::Gone(Code::Cancelled))?;
            left -= piece.len();
            data.extend_from_slice(&piece);
        }
        request.data = data.freeze();
        request.labels = receive_labels(source, request.labels, rest.after).await?;
    }
    Ok(Some(request))
}

/// The parser's result for a message in pieces: nothing else comes after it.
fn parsed(message: &[u8], sizes: &[usize]) -> Result<WriteContentRequest, End> {
    let mut source = cut(prefixed(message), sizes);
    let parsed = whole(&mut source).now_or_never().expect("all bytes are there")?;
    assert!(matches!(whole(&mut source).now_or_never(), Some(Ok(None))));
    Ok(parsed.expect("there is a message"))
}

/// A field, encoded; its number is told with it.
type Field = (u32, Vec<u8>);

fn varint(number: u32, value: u64) -> Field {
    let mut bytes = Vec::new();
    encode_key(number, WireType::Varint, &mut bytes);
    encode_varint(value, &mut bytes);
    (number, bytes)
}

fn long(number: u32, value: &[u8]) -> Field {
    let mut bytes = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    encode_varint(value.len() as u64, &mut bytes);
    bytes.extend_from_slice(value);
    (number, bytes)
}

fn fixed(number: u32, wire: WireType, value: &[u8]) -> Field {
    let mut bytes = Vec::new();
    encode_key(number, wire, &mut bytes);
    bytes.extend_from_slice(value);
    (number, bytes)
}

fn label(key: &str, value: &str) -> Field {
    long(LABELS, &[long(1, key.as_bytes()).1, long(2, value.as_bytes()).1].concat())
}

/// Sizes about those at which the parser takes another way.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![0..64_usize, HEAD - 64..HEAD + 64, WHOLE - 64..WHOLE + 64, 0..2 * WHOLE]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c]{0,3}", 1 => size().prop_map(|size| "x".repeat(size))]
}

fn field() -> impl Strategy<Value = Field> {
    let unknown = LABELS + 1..1 << 29;
    prop_oneof![
        1 => (prop_oneof![Just(1_u32), Just(3), Just(5)], prop_oneof![0..4_u64, any::<u64>()])
            .prop_map(|(number, value)| varint(number, value)),
        1 => (prop_oneof![Just(2_u32), Just(4)], text()).prop_map(|(number, value)| long(number, value.as_bytes())),
        3 => (size(), any::<u8>()).prop_map(|(size, byte)| long(DATA, &vec![byte; size])),
        3 => (text(), text()).prop_map(|(key, value)| label(&key, &value)),
        1 => (unknown.clone(), any::<u64>()).prop_map(|(number, value)| varint(number, value)),
        1 => (unknown.clone(), any::<[u8; 8]>()).prop_map(|(number, value)| fixed(number, WireType::SixtyFourBit, &value)),
        1 => (unknown.clone(), any::<[u8; 4]>()).prop_map(|(number, value)| fixed(number, WireType::ThirtyTwoBit, &value)),
        1 => (unknown, size(), any::<u8>()).prop_map(|(number, size, byte)| long(number, &vec![byte; size])),
    ]
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..9_usize, 1..4), vec(1..20_000_usize, 1..4), Just(vec![usize::MAX])]
}

/// Whether a message is accepted: of a large one, only labels and what is unknown may come after the data.
fn is_accepted(fields: &[Field]) -> bool {
    let is_small = fields.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= WHOLE;
    let mut after = fields.iter().skip_while(|(number, _)| *number != DATA).skip(1);
    is_small || after.all(|(number, _)| *number >= LABELS)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn fields_in_any_order_in_any_pieces_are_what_prost_finds(fields in vec(field(), 0..8), sizes in sizes()) {
        let message = fields.iter().flat_map(|(_, bytes)| bytes).copied().collect::<Vec<_>>();
        let expected = WriteContentRequest::decode(&message[..]).unwrap();

        match parsed(&message, &sizes) {
            Ok(found) => prop_assert_eq!(expected, found),
            Err(End::Refused(refused)) => {
                prop_assert_eq!(Code::InvalidArgument, refused.code);
                prop_assert!(!is_accepted(&fields));
            }
            Err(End::Gone(_)) => prop_assert!(false, "all bytes were there"),
        }
    }

    #[test]
    fn fields_with_wrong_bytes_are_refused_or_what_prost_finds(
        fields in vec(field(), 1..8),
        wrong in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
        sizes in sizes(),
    ) {
        let mut message = fields.iter().flat_map(|(_, bytes)| bytes).copied().collect::<Vec<_>>();
        for (place, byte) in wrong {
            // Mostly near the beginning, where the fields are.
            let place = place.index(message.len().min(64));
            message[place] = byte;
        }
        if end.index(2) == 0 {
            message.truncate(end.index(message.len()));
        }

        if let Ok(found) = parsed(&message, &sizes) {
            prop_assert_eq!(WriteContentRequest::decode(&message[..]), Ok(found));
        }
    }

    #[test]
    fn any_bytes_at_all_end_with_a_message_or_an_error(bytes in vec(any::<u8>(), 0..2_000), sizes in sizes()) {
        let given = bytes.len();
        let mut source = cut(bytes.into(), &sizes);
        // Each message has a prefix: so many there can be.
        for _ in 0..=given {
            match whole(&mut source).now_or_never() {
                Some(Ok(Some(_))) => {}
                Some(Ok(None) | Err(_)) => return Ok(()),
                None => prop_assert!(false, "it waits for more than there is"),
            }
        }
        prop_assert!(false, "it goes on for ever");
    }

    #[test]
    fn messages_one_after_the_other_are_told_apart(lengths in vec(size(), 1..5), sizes in sizes()) {
        let requests = lengths.iter().map(|length| WriteContentRequest {
            offset: i64::try_from(*length).unwrap(),
            data: vec![7; *length].into(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..WriteContentRequest::default()
        });
        let requests = requests.collect::<Vec<_>>();
        let sent = requests.iter().map(|request| prefixed(&request.encode_to_vec())).collect::<Vec<_>>().concat();
        let mut source = cut(sent.into(), &sizes);

        for request in requests {
            let found = whole(&mut source).now_or_never().expect("all bytes are there");
            prop_assert_eq!(Some(request), found.ok().flatten());
        }
        prop_assert!(matches!(whole(&mut source).now_or_never(), Some(Ok(None))));
    }
}

#[test]
fn a_message_that_says_it_is_too_large_is_refused_before_it_comes() {
    let mut source = cut(Bytes::from_static(&[0, 0xFF, 0xFF, 0xFF, 0xFF]), &[5]);

    let refused = Receiver::length(&mut source).now_or_never();

    assert_eq!(Some(Err(Broken::TooLarge(0xFFFF_FFFF, MOST))), refused);
}
