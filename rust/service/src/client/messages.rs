//! The methods that a client calls, and their messages as JSON, for callers that are not written in Rust.
//!
//! A request is an object with the fields of the message, under the same names; the data of a Write is passed separately. If an answer has
//! a list, each member becomes an answer of its own, so that a caller can process a long list in parts. A time is a pair of seconds and
//! nanoseconds.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Uri;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, encode_key, encode_varint, skip_field};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::proto::{content, images, leases};

/// The number of the field of a Write that holds its data.
const DATA: u32 = 6;

/// The field with the members of a list, in all answers that are lists.
const MEMBERS: u32 = 1;

/// The average size of a member, at least. A digest alone has more than 70 bytes.
const LEAST_MEMBER: usize = 16;

/// A method.
#[derive(Clone, Copy)]
pub struct Method {
    path: &'static str,
    /// Whether a successful call receives exactly one message.
    pub(super) is_answered_once: bool,
    encode: fn(&[u8]) -> Result<BytesMut, String>,
    decode: fn(Bytes) -> Result<Vec<Bytes>, String>,
}

macro_rules! methods {
    ($($service:ident $name:literal: $request:ty, $response:ty => |$answer:ident| $answers:expr;)*) => {
        /// All methods.
        const METHODS: &[Method] = &[$(
            Method {
                path: concat!("/containerd.services.", stringify!($service), ".v1.", $name),
                is_answered_once: !matches!($name.as_bytes(), b"Content/List" | b"Content/Read" | b"Content/Write"),
                encode: encode::<$request>,
                decode: |message| {
                    check_members(&message)?;
                    let $answer = <$response>::decode(message).map_err(|error| error.to_string())?;
                    $answers
                },
            },
        )*];
    };
}

methods! {
    content "Content/Info": content::InfoRequest, content::InfoResponse => |answer| json([answer.info.unwrap_or_default()]);
    content "Content/Update": content::UpdateRequest, content::UpdateResponse => |answer| json([answer.info.unwrap_or_default()]);
    content "Content/List": content::ListContentRequest, content::ListContentResponse => |answer| json(answer.info);
    content "Content/Delete": content::DeleteContentRequest, () => |answer| json([answer]);
    content "Content/Read": content::ReadContentRequest, content::ReadContentResponse => |answer| Ok(data(answer.data));
    content "Content/Status": content::StatusRequest, content::StatusResponse => |answer| json([answer.status.unwrap_or_default()]);
    content "Content/ListStatuses": content::ListStatusesRequest, content::ListStatusesResponse => |answer| json(answer.statuses);
    content "Content/Write": content::WriteContentRequest, content::WriteContentResponse => |answer| json([answer]);
    content "Content/Abort": content::AbortRequest, () => |answer| json([answer]);
    images "Images/Get": images::GetImageRequest, images::GetImageResponse => |answer| json([answer.image.unwrap_or_default()]);
    images "Images/List": images::ListImagesRequest, images::ListImagesResponse => |answer| json(answer.images);
    images "Images/Create": images::CreateImageRequest, images::CreateImageResponse => |answer| json([answer.image.unwrap_or_default()]);
    images "Images/Update": images::UpdateImageRequest, images::UpdateImageResponse => |answer| json([answer.image.unwrap_or_default()]);
    images "Images/Delete": images::DeleteImageRequest, () => |answer| json([answer]);
    leases "Leases/Create": leases::CreateRequest, leases::CreateResponse => |answer| json([answer.lease.unwrap_or_default()]);
    leases "Leases/Delete": leases::DeleteRequest, () => |answer| json([answer]);
    leases "Leases/List": leases::ListRequest, leases::ListResponse => |answer| json(answer.leases);
    leases "Leases/AddResource": leases::AddResourceRequest, () => |answer| json([answer]);
    leases "Leases/DeleteResource": leases::DeleteResourceRequest, () => |answer| json([answer]);
    leases "Leases/ListResources": leases::ListResourcesRequest, leases::ListResourcesResponse => |answer| json(answer.resources);
}

impl Method {
    /// Return the method with a path such as `/containerd.services.content.v1.Content/Info`.
    pub fn of(path: &str) -> Option<Self> {
        METHODS.iter().find(|method| method.path == path).copied()
    }

    /// The URI of its requests. The host is only formal: a Unix socket has none.
    pub(super) fn uri(self) -> Uri {
        let uri = Uri::builder().scheme("http").authority("localhost").path_and_query(self.path).build();
        uri.unwrap_or_default()
    }

    /// Encode a request from its JSON and its data. The data is not copied.
    pub(super) fn encode(self, request: &[u8], data: Vec<Bytes>) -> Result<Vec<Bytes>, String> {
        let mut head = (self.encode)(request)?;
        let size: usize = data.iter().map(Bytes::len).sum();
        if size > 0 {
            encode_key(DATA, WireType::LengthDelimited, &mut head);
            encode_varint(size as u64, &mut head);
        }
        let mut pieces = vec![head.freeze()];
        pieces.extend(data);
        Ok(pieces)
    }

    /// Decode the answers in a message: JSON, or the data of a Read.
    pub(super) fn decode(self, message: Bytes) -> Result<Vec<Bytes>, String> {
        (self.decode)(message)
    }
}

fn encode<M: Message + DeserializeOwned + Default>(request: &[u8]) -> Result<BytesMut, String> {
    let message: M = serde_json::from_slice(request).map_err(|error| error.to_string())?;
    let mut bytes = BytesMut::with_capacity(message.encoded_len() + 16);
    message.encode(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Refuse a message with more members than a list of that size has: each takes many times its bytes once it is decoded.
fn check_members(message: &[u8]) -> Result<(), String> {
    let most = 1024 + message.len() / LEAST_MEMBER;
    let (mut rest, mut members) = (message, 0);
    while !rest.is_empty() {
        let (tag, wire) = decode_key(&mut rest).map_err(|error| error.to_string())?;
        members += usize::from(tag == MEMBERS);
        if members > most {
            return Err(format!("a list of {} bytes has more than {most} members", message.len()));
        }
        skip_field(wire, tag, &mut rest, DecodeContext::default()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn json<T: Serialize>(answers: impl IntoIterator<Item = T>) -> Result<Vec<Bytes>, String> {
    answers.into_iter().map(|answer| written(&answer)).collect()
}

fn written(answer: &impl Serialize) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new().writer();
    serde_json::to_writer(&mut bytes, answer).map_err(|error| error.to_string())?;
    Ok(bytes.into_inner().freeze())
}

fn data(data: Bytes) -> Vec<Bytes> {
    if data.is_empty() { Vec::new() } else { vec![data] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str) -> Method {
        Method::of(&format!("/containerd.services.content.v1.Content/{name}")).unwrap()
    }

    fn sent(name: &str, json: &str, data: &[&'static [u8]]) -> Bytes {
        let data = data.iter().map(|piece| Bytes::from_static(piece)).collect();
        method(name).encode(json.as_bytes(), data).unwrap().concat().into()
    }

    #[test]
    fn a_write_is_the_message_that_its_json_and_its_data_say() {
        let json = r#"{"action": 2, "ref": "é", "total": 7, "expected": "sha256:", "offset": -3, "labels": {"a": "", "b": "é"}}"#;
        let found = content::WriteContentRequest::decode(sent("Write", json, &[b"some", b"", b"data"])).unwrap();
        let labels = [("a", ""), ("b", "é")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let expected = content::WriteContentRequest {
            action: 2,
            r#ref: "é".to_owned(),
            total: 7,
            expected: "sha256:".to_owned(),
            offset: -3,
            data: Bytes::from_static(b"somedata"),
            labels,
        };
        assert_eq!(expected, found);
    }

    #[test]
    fn a_write_without_data_has_no_field_for_it() {
        assert!(sent("Write", "{}", &[b"", b""]).is_empty());
    }

    #[test]
    fn a_field_that_there_is_not_is_refused() {
        let found = method("Info").encode(br#"{"digests": []}"#, Vec::new());
        assert!(found.unwrap_err().contains("digests"));
    }

    #[test]
    fn a_mask_is_a_list() {
        let json = r#"{"info": {"digest": "d"}, "update_mask": ["labels.a"]}"#;
        let found = content::UpdateRequest::decode(sent("Update", json, &[])).unwrap();
        assert_eq!(vec!["labels.a"], found.update_mask.unwrap().paths);
    }

    #[test]
    fn each_member_of_a_list_is_an_answer() {
        let blob = |digest: &str, seconds| content::Info {
            digest: digest.to_owned(),
            size: 1 << 40,
            created_at: Some(prost_types::Timestamp { seconds, nanos: 5 }),
            ..content::Info::default()
        };
        let list = content::ListContentResponse { info: vec![blob("one", 7), blob("two", -62_135_596_800)] };
        let found = method("List").decode(list.encode_to_vec().into()).unwrap();
        let json = |digest: &str, time: &str| {
            format!(
                r#"{{"digest":"{digest}","size":1099511627776,"created_at":{time},"updated_at":null,"labels":{{}}}}"#
            )
        };
        assert_eq!(vec![json("one", "[7,5]"), json("two", "[-62135596800,5]")], found);
    }

    #[test]
    fn a_list_of_far_too_many_members_is_refused_before_it_is_decoded() {
        let list = |members: usize| Bytes::from([10, 0].repeat(members));
        assert_eq!(1024, method("List").decode(list(1024)).unwrap().len());
        let refused = method("List").decode(list(1 << 20)).unwrap_err();
        assert_eq!("a list of 2097152 bytes has more than 132096 members", refused);
    }

    #[test]
    fn the_data_of_a_read_is_not_copied() {
        let answer = content::ReadContentResponse { offset: 5, data: Bytes::from_static(&[7; 1000]) };
        let message = Bytes::from(answer.encode_to_vec());
        let [data] = &method("Read").decode(message.clone()).unwrap()[..] else { panic!() };
        assert_eq!([7; 1000], data[..]);
        assert_eq!(message[message.len() - 1000..].as_ptr(), data.as_ptr());
        assert!(method("Read").decode(Bytes::new()).unwrap().is_empty());
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        for garbage in [&b"\xff"[..], b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0b"] {
            assert!(method("Info").decode(Bytes::copy_from_slice(garbage)).is_err(), "{garbage:?}");
        }
    }
}
