//! The messages of a Write. The data of a large message is received in parts, and is never in memory as a whole.
//!
//! Spec: protobuf's encoding: fields in any order, each a tag (number and wire type) and a value.

use bytes::{Buf as _, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use steelyard_core::model::Labels;

use crate::call::{Call, End, REQUEST, decode, too_large};
use crate::proto::content::WriteContentRequest;
use crate::refusal::Refusal;

/// Messages up to this size are received as a whole.
const WHOLE: usize = 64 << 10;

/// The bytes of a larger message that are received and parsed first. The fields before the data rarely take more.
const HEAD: usize = 4 << 10;

/// The number of the data field, and of the only field that may follow it.
const DATA: u32 = 6;
const LABELS: u32 = 7;

/// The source of messages: a call or, in tests, memory.
pub(super) trait Source {
    /// Receive the length of the next message; `None` after the last one.
    async fn length(&mut self) -> Result<Option<usize>, End>;
    /// Receive exactly `size` bytes of the message.
    async fn exactly(&mut self, size: usize) -> Result<Bytes, End>;
}

impl Source for Call {
    async fn length(&mut self) -> Result<Option<usize>, End> {
        self.receive_length().await
    }

    async fn exactly(&mut self, size: usize) -> Result<Bytes, End> {
        self.receive_exactly(size).await
    }
}

/// A message, or its beginning.
pub(super) struct Incoming {
    /// Its fields. The data may be incomplete.
    pub(super) request: WriteContentRequest,
    /// The part that is still to be received; `None` if the message is complete.
    pub(super) rest: Option<Rest>,
}

/// The rest of a message.
pub(super) struct Rest {
    /// Further bytes of the data.
    pub(super) data: usize,
    /// Bytes of the fields after the data.
    pub(super) after: usize,
}

/// Receive the next message, or the beginning of a large one; `None` after the client's last message.
pub(super) async fn receive(source: &mut impl Source) -> Result<Option<Incoming>, End> {
    let Some(length) = source.length().await? else { return Ok(None) };
    if length <= WHOLE {
        let request = decode(source.exactly(length).await?)?;
        return Ok(Some(Incoming { request, rest: None }));
    }
    let mut head = source.exactly(HEAD).await?;
    let found = loop {
        match find_data(&head)? {
            Some(found) => break found,
            None if head.len() == length => return Ok(Some(Incoming { request: decode(head)?, rest: None })),
            None if head.len() >= REQUEST => return Err(too_large(length, REQUEST).into()),
            None => {
                // The fields before the data take more than `HEAD`: the ref may be long, for example.
                let more = source.exactly(head.len().min(length - head.len())).await?;
                head = [head, more].concat().into();
            }
        }
    };
    let Some(after) = (length - found.begin).checked_sub(found.size) else {
        return Err(malformed("the data is longer than the message").into());
    };
    if after > REQUEST {
        return Err(too_large(after, REQUEST).into());
    }
    let mut request: WriteContentRequest = decode(head.slice(..found.tag))?;
    head.advance(found.begin);
    request.data = head.split_to(head.len().min(found.size));
    let data = found.size - request.data.len();
    if data == 0 {
        // `head` includes all data, and now holds the first bytes after it.
        let more = source.exactly(after - head.len()).await?;
        request.labels = labels(request.labels, [head, more].concat().into())?;
        return Ok(Some(Incoming { request, rest: None }));
    }
    Ok(Some(Incoming { request, rest: Some(Rest { data, after }) }))
}

/// Receive the fields after the data. Returns the labels before and after it.
pub(super) async fn receive_labels(source: &mut impl Source, before: Labels, after: usize) -> Result<Labels, End> {
    labels(before, source.exactly(after).await?)
}

/// The labels of a message, before and after its data. All other fields must come before the data; encoders write fields in the order of
/// their numbers.
fn labels(mut before: Labels, after: Bytes) -> Result<Labels, End> {
    if !has_labels_only(&after).map_err(|error| malformed(&error.to_string()))? {
        return Err(malformed("a large message may have only labels after the data").into());
    }
    let request: WriteContentRequest = decode(after)?;
    before.extend(request.labels);
    Ok(before)
}

/// Whether there are only labels and unknown fields among these. Any other field, even an empty one, would override an earlier value.
fn has_labels_only(mut fields: &[u8]) -> Result<bool, DecodeError> {
    while !fields.is_empty() {
        let (field, wire) = decode_key(&mut fields)?;
        if field < LABELS {
            return Ok(false);
        }
        skip_field(wire, field, &mut fields, DecodeContext::default())?;
    }
    Ok(true)
}

/// The position of the data, in bytes from the beginning of the message.
struct Found {
    /// Where its field begins, with the tag.
    tag: usize,
    /// Where the data begins.
    begin: usize,
    /// The size of the data.
    size: usize,
}

/// Find the data in the beginning of a message; `None` if it is not there.
fn find_data(head: &Bytes) -> Result<Option<Found>, Refusal> {
    let mut rest = &head[..];
    loop {
        let tag = head.len() - rest.len();
        // A tag and a length take at most ten bytes each: with fewer bytes left, they may be incomplete.
        if rest.len() < 20 {
            return Ok(None);
        }
        let (field, wire) = decode_key(&mut rest).map_err(|error| malformed(&error.to_string()))?;
        let mut number = || decode_varint(&mut rest).map_err(|error| malformed(&error.to_string()));
        let size = match wire {
            WireType::Varint => number().map(|_| 0)?,
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(number()?).unwrap_or(usize::MAX),
            WireType::StartGroup | WireType::EndGroup => return Err(malformed("a field is a group")),
        };
        if field == DATA && wire == WireType::LengthDelimited {
            return Ok(Some(Found { tag, begin: head.len() - rest.len(), size }));
        }
        if size >= rest.len() {
            return Ok(None);
        }
        rest.advance(size);
    }
}

fn malformed(text: &str) -> Refusal {
    Refusal::malformed(&format!("request: not a message: {text}"))
}

#[cfg(test)]
mod tests;
