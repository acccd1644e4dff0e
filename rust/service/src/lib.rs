//! Serves a store over containerd's protocol on a Unix socket: content, images, leases and events, with health and reflection.
//!
//! | Module | Owns |
//! | --- | --- |
//! | `server` | the start of a server, its connections, its shutdown |
//! | `grpc` | calls over HTTP/2: sent and received messages, codes |
//! | `client` | calls to such a server |
//! | `call` | the common part of every served call: limits, the end of idle calls, log, metrics |
//! | `socket`, `authority` | sockets that survive forks, and the bytes between them and h2 |
//! | `services` | the methods of each service |
//! | `store` | the operations that a served store must have; the local store |
//! | `method`, `proto` | the methods and their messages |
//! | `values`, `times`, `refusal` | values and errors in their form on the wire |
//! | `threads` | the threads on which a store is called |
//! | `log`, `metrics` | notes and counts for the owner of the server |
//!
//! No call waits for a disk on a thread of the runtime: work that may block runs on `threads`. `docs/containerd.md` has the rules of the
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
