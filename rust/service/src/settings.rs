//! The settings of a server.

use std::time::Duration;

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most data of one message of a Read, in bytes.
    pub read_bytes: usize,
    /// The most bytes of a message, either way.
    pub message_bytes: usize,
    /// The most concurrent Write calls, and the most other concurrent calls.
    pub calls: usize,
    /// How long a call may wait for the client to send or take a message.
    pub idle: Duration,
    /// Whether the leases service is offered and the lease in the headers of a call takes effect.
    pub leases: bool,
}
