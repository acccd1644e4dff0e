//! The part of gRPC over HTTP/2 that the service and the client need. Spec: gRPC's `PROTOCOL-HTTP2.md`.
//!
//! | File | Has |
//! | --- | --- |
//! | `code` | status codes |
//! | `receive` | the messages that a call receives |
//! | `send` | the responses of a served call, and its end |

pub(crate) mod code;
pub(crate) mod receive;
pub(crate) mod send;
