//! Garbage collection: one collection, in steps, beside all other work on the store. `docs/lifecycle-protocol.md` has the protocol.
//!
//! | File | Does |
//! | --- | --- |
//! | `defaults.rs` | the times of collections that get no others |
//! | `start.rs` | refuses where it cannot be known which blobs are needed; begins |
//! | `collection.rs` | the phases of a collection, in steps |
//! | `mark.rs`, `marks.rs`, `names.rs`, `documents.rs` | what roots keep, and what that names |
//! | `look.rs`, `garbage.rs`, `order.rs` | the files that no root has reached, their notes, and the order in which they may go |
//! | `pending.rs` | the rows that it writes, and how it lets other writers go first |
//! | `ingests.rs` | ingests that no writer has come back to |
//! | `condemn.rs`, `unlinking.rs` | takes blobs out of `blobs/`, and removes them |
//! | `why.rs` | why a blob is kept |
//!
//! A collection that ends early, however it does, leaves garbage to the next one and nothing else.

mod collection;
mod condemn;
mod defaults;
mod documents;
mod garbage;
mod ingests;
mod look;
mod mark;
mod marks;
mod names;
mod order;
mod pending;
mod slice;
mod start;
mod unlinking;
mod values;
mod why;

pub use collection::Collection;
pub use mark::RootName;
pub use marks::Keep;
pub use values::{Found, Options, Progress, Report};
pub use why::{Reason, Why};
