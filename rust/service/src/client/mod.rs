//! Calls to a server of containerd's protocol on a Unix socket: containerd itself, or Steelyard's service.
//!
//! | File | Has |
//! | --- | --- |
//! | `channel` | the thread that reads and writes for all calls of a channel |
//! | `link` | the connection of a channel, with reconnection after a loss |
//! | `exchange` | a call on the connection: requests out, answers in |
//! | `call` | a call as its caller sees it, from any thread |
//! | `outcome` | the outcome of a call |
//! | `messages` | requests and answers, as JSON for callers that are not written in Rust |
//!
//! A caller need not block: it can be notified. `RemoteCall::wait` is for callers that block a thread.

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
