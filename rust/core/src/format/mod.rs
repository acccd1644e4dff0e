//! All names and layouts on the disk. `docs/format.md` describes them.
//!
//! Nothing here does I/O, and no code outside this module contains a name that is used on the disk. A slot of `state.rs` holds the
//! saved state of a hash, which `hash/state.rs` encodes.
//!
//! | File | Has |
//! | --- | --- |
//! | `names.rs` | the names of files and directories, and the modes of files |
//! | `marker.rs` | the marker of a root |
//! | `lock_bytes.rs` | the meaning of each byte of the file `lock` |
//! | `state.rs` | the state file of an ingest |
//! | `metadata.rs` | the tables of `meta.db` |
//! | `labels.rs` | labels as JSON, in those tables |
//! | `containerd.rs` | the files that containerd writes into its ingests |

pub(crate) mod containerd;
pub(crate) mod labels;
pub(crate) mod lock_bytes;
pub(crate) mod marker;
pub(crate) mod metadata;
pub(crate) mod names;
pub mod state;
