//! How a store is served.

use std::time::Duration;

/// How a store is served.
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
    /// Whether leases of the store are offered, and protect what a call stores under one.
    pub leases: bool,
}
