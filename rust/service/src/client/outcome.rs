//! The outcome of a call: the status that the server sent, or a status that says why the server sent none.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use h2::Reason;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;

use crate::grpc::code::Code;
use crate::grpc::send::DETAILS;

/// The encoding of binary headers. Some servers pad the values.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The code.
    pub code: Code,
    /// The message.
    pub message: String,
    /// The error of Steelyard's service as JSON; empty from other servers.
    pub details: Vec<u8>,
}

impl Outcome {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    pub(super) fn unavailable(reason: impl std::fmt::Display) -> Self {
        Self::new(Code::Unavailable, reason.to_string())
    }

    /// Return the outcome in trailers, or in the headers of a response without a body; `None` if there is no status.
    pub(super) fn of_trailers(trailers: &HeaderMap) -> Option<Self> {
        let status = trailers.get("grpc-status")?;
        let number = status.to_str().ok().and_then(|text| text.parse().ok());
        let code = number.and_then(Code::of).unwrap_or(Code::Unknown);
        let text = trailers.get("grpc-message").map(|value| percent_decode(value.as_bytes()).decode_utf8_lossy());
        let details = trailers.get(DETAILS).and_then(|value| BASE64.decode(value).ok());
        Some(Self { code, message: text.unwrap_or_default().into_owned(), details: details.unwrap_or_default() })
    }

    /// The outcome of an HTTP response that is not a gRPC response. Spec: gRPC's `http-grpc-status-mapping.md`.
    pub(super) fn of_http(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502..=504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        Self::new(code, format!("the server does not speak gRPC: HTTP status {status}"))
    }

    /// The outcome of a call whose stream was reset or whose connection was lost. Spec: gRPC's `PROTOCOL-HTTP2.md`, "Errors".
    pub(super) fn of_reset(reason: Option<Reason>) -> Self {
        let Some(reason) = reason else { return Self::unavailable("the connection was lost") };
        let code = match reason {
            Reason::REFUSED_STREAM => Code::Unavailable,
            Reason::CANCEL => Code::Cancelled,
            Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
            Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
            _ => Code::Internal,
        };
        Self::new(code, format!("the server ended the call: {}", reason.description()))
    }
}
