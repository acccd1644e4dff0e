//! A store behind containerd's protocol: content, images, leases and events, with health and reflection, on a Unix socket.
//!
//! | Module | Owns |
//! | --- | --- |
//! | `server` | the life of a server: its connections, its end |
//! | `grpc` | calls over HTTP/2: messages in and out, codes |
//! | `client` | calls to such a server |
//! | `call` | what every call goes through: limits, the end of idle calls, log, metrics |
//! | `socket`, `authority` | connections, as forks see them and as h2 reads and writes them |
//! | `services` | the calls themselves |
//! | `store` | what the calls need of a store; the local store |
//! | `method`, `proto` | the methods and their messages |
//! | `values`, `times`, `refusal` | values and errors as they go over the wire |
//! | `threads` | the threads on which a store is called |
//! | `log`, `metrics` | notes and counts for the owner of the server |
//!
//! No call waits for a disk on a thread of the runtime: what may wait goes to `threads`. `docs/containerd.md` has the rules of the
//! protocol.

mod authority;
mod call;
mod client;
mod grpc;
mod log;
mod memory;
mod method;
mod metrics;
mod proto;
mod refusal;
mod server;
mod services;
mod settings;
mod shared;
mod socket;
pub mod store;
mod threads;
mod times;
mod values;

pub use client::{Call as RemoteCall, Channel, Outcome, RemoteMethod, Until as RemoteUntil, headers};
pub use grpc::code::Code;
pub use log::{Level, Note, Record};
pub use metrics::{MethodMetrics, SECONDS, Snapshot};
pub use refusal::Refusal;
pub use server::Server;
pub use settings::Settings;
