//! The messages of a Write. Of a large one the data is received in parts, and is never in memory as a whole.
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

/// Of a larger one as many bytes are looked at first. The fields before the data rarely take more.
const HEAD: usize = 4 << 10;

/// The field with the data, and the only one that may come after it.
const DATA: u32 = 6;
const LABELS: u32 = 7;

/// Where the bytes of messages come from: a call, or in tests memory.
pub(super) trait Source {
    /// The length of the next message; None when there is none.
    async fn length(&mut self) -> Result<Option<usize>, End>;
    /// So many of its next bytes.
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
    /// Its fields. The data may be the first part of it.
    pub(super) request: WriteContentRequest,
    /// The part that is still to be received; None: it is whole.
    pub(super) rest: Option<Rest>,
}

/// The rest of a message, in bytes.
pub(super) struct Rest {
    pub(super) data: usize,
    /// The fields after the data.
    pub(super) after: usize,
}

/// Receive the next message; None when the client has sent its last.
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
                // A long ref, for example.
                let more = source.exactly(head.len().min(length - head.len())).await?;
                head = [head, more].concat().into();
            }
        }
    };
    let Some(after) = (length - found.begin).checked_sub(found.size) else {
        return Err(malformed("its data is longer than it is").into());
    };
    if after > REQUEST {
        return Err(too_large(after, REQUEST).into());
    }
    let mut request: WriteContentRequest = decode(head.slice(..found.tag))?;
    head.advance(found.begin);
    request.data = head.split_to(head.len().min(found.size));
    let data = found.size - request.data.len();
    if data == 0 {
        // The head reaches beyond the data.
        let more = source.exactly(after - head.len()).await?;
        request.labels = labels(request.labels, [head, more].concat().into())?;
        return Ok(Some(Incoming { request, rest: None }));
    }
    Ok(Some(Incoming { request, rest: Some(Rest { data, after }) }))
}

/// Receive the fields after the data.
pub(super) async fn receive_labels(source: &mut impl Source, before: Labels, after: usize) -> Result<Labels, End> {
    labels(before, source.exactly(after).await?)
}

/// The labels of a message: those before its data, and those after it. All other fields have to come before the data, as every encoder
/// has them: by their numbers.
fn labels(mut before: Labels, after: Bytes) -> Result<Labels, End> {
    if !has_labels_only(&after).map_err(|error| malformed(&error.to_string()))? {
        return Err(malformed("of a large one, only labels may come after the data").into());
    }
    let request: WriteContentRequest = decode(after)?;
    before.extend(request.labels);
    Ok(before)
}

/// Whether there are no other fields among these, but for unknown ones. Also a field with no value would change what was said before.
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

/// Where the data of a message is, in bytes from its beginning.
struct Found {
    /// Its field begins.
    tag: usize,
    /// It begins.
    begin: usize,
    size: usize,
}

/// Find the data; None if it is not in this beginning of a message.
fn find_data(head: &Bytes) -> Result<Option<Found>, Refusal> {
    let mut rest = &head[..];
    loop {
        let tag = head.len() - rest.len();
        // A tag and a length take at most ten bytes each: with fewer, they may be cut.
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
            WireType::StartGroup | WireType::EndGroup => return Err(malformed("it has a group")),
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
