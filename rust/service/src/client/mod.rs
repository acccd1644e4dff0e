//! Calls to a server of containerd's protocol on a Unix socket: a containerd, or our own service.
//!
//! | File | Has |
//! | --- | --- |
//! | `channel` | the thread that reads and writes for all calls of a channel |
//! | `link` | its connection, which is made again when it is lost |
//! | `exchange` | a call on the connection: requests out, answers in |
//! | `call` | a call as its caller sees it, from any thread |
//! | `outcome` | how a call ended |
//! | `messages` | requests and answers, as JSON for callers that are not written in Rust |
//!
//! A caller never waits in here: it is notified.

mod call;
mod channel;
mod exchange;
mod link;
mod messages;
mod outcome;

pub use call::{Call, Until};
pub use channel::{Channel, headers};
pub use messages::Method as RemoteMethod;
pub use outcome::Outcome;
