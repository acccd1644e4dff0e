//! gRPC over HTTP/2, as far as a server needs it. Spec: gRPC's `PROTOCOL-HTTP2.md`.
//!
//! | File | Has |
//! | --- | --- |
//! | `code` | the codes of outcomes |
//! | `receive` | the requests of a call |
//! | `send` | its responses, and its end |

pub(crate) mod code;
pub(crate) mod receive;
pub(crate) mod send;
