//! Garbage collection: one collection, in steps, concurrent with all other work on the store. `docs/lifecycle-protocol.md` has the protocol.
//!
//! | File | Does |
//! | --- | --- |
//! | `defaults.rs` | the default times of collections |
//! | `start.rs` | starts a collection, or refuses if the store cannot know which blobs are needed |
//! | `collection.rs` | the phases of a collection, in steps |
//! | `mark.rs`, `marks.rs`, `names.rs`, `documents.rs` | the blobs that roots keep, and the blobs that these name |
//! | `look.rs`, `garbage.rs`, `order.rs` | the files that no root has reached, their notes, and the order in which they may go |
//! | `pending.rs` | the rows that a collection writes, and its pauses for other writers |
//! | `ingests.rs` | abandoned ingests, which no writer has resumed |
//! | `condemn.rs`, `unlinking.rs` | takes blobs out of `blobs/`, and removes them |
//! | `why.rs` | why a blob is kept |
//!
//! A collection that ends early, for whatever reason, leaves only garbage, which the next one removes.

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
