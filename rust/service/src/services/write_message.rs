//! The messages of a Write. Of a large one the data is received in parts, and is never in memory as a whole.
//!
//! Spec: protobuf's encoding: fields in any order, each a tag (number and wire type) and a value.

use bytes::{Buf as _, Bytes};
use prost::encoding::{WireType, decode_key, decode_varint};
use steelyard_core::model::Labels;

use crate::call::{Call, End, decode};
use crate::proto::content::WriteContentRequest;
use crate::refusal::Refusal;

/// Messages up to this size are received as a whole.
const WHOLE: usize = 64 << 10;

/// Of a larger one as many bytes are looked at first. The fields before the data rarely take more.
const HEAD: usize = 4 << 10;

/// The field with the data.
const DATA: u32 = 6;

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
pub(super) async fn receive(call: &mut Call) -> Result<Option<Incoming>, End> {
    let Some(length) = call.receive_length().await? else { return Ok(None) };
    if length <= WHOLE {
        let request = decode(call.receive_exactly(length).await?)?;
        return Ok(Some(Incoming { request, rest: None }));
    }
    let mut head = call.receive_exactly(HEAD).await?;
    let found = loop {
        match find_data(&head)? {
            Some(found) => break found,
            None if head.len() == length => return Ok(Some(Incoming { request: decode(head)?, rest: None })),
            None => {
                // A long ref, for example.
                let more = call.receive_exactly(head.len().min(length - head.len())).await?;
                head = [head, more].concat().into();
            }
        }
    };
    let Some(after) = (length - found.begin).checked_sub(found.size) else {
        return Err(malformed("its data is longer than it is").into());
    };
    let mut request: WriteContentRequest = decode(head.slice(..found.tag))?;
    head.advance(found.begin);
    request.data = head.split_to(head.len().min(found.size));
    let data = found.size - request.data.len();
    if data == 0 {
        // The head reaches beyond the data.
        let more = call.receive_exactly(after - head.len()).await?;
        request.labels = labels(request.labels, [head, more].concat().into())?;
        return Ok(Some(Incoming { request, rest: None }));
    }
    Ok(Some(Incoming { request, rest: Some(Rest { data, after }) }))
}

/// Receive the fields after the data.
pub(super) async fn receive_labels(call: &mut Call, before: Labels, after: usize) -> Result<Labels, End> {
    labels(before, call.receive_exactly(after).await?)
}

/// The labels of a message: those before its data, and those after it. All other fields have to come before the data, as every encoder
/// has them: by their numbers.
fn labels(mut before: Labels, after: Bytes) -> Result<Labels, End> {
    let request: WriteContentRequest = decode(after)?;
    let WriteContentRequest { action, r#ref, total, expected, offset, data, labels } = request;
    if action != 0 || total != 0 || offset != 0 || !(r#ref.is_empty() && expected.is_empty() && data.is_empty()) {
        return Err(malformed("of a large one, only labels may come after the data").into());
    }
    before.extend(labels);
    Ok(before)
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
