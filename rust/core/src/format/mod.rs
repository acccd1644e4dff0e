//! Every name and layout on the disk. `docs/format.md` describes them.
//!
//! Nothing here does I/O, and nothing outside this module spells a name of the disk. A slot of `state.rs` holds the saved
//! state of a hash, which `hash/state.rs` encodes.
//!
//! | File | Has |
//! | --- | --- |
//! | `names.rs` | the names of files and directories, and the modes of files |
//! | `marker.rs` | the marker of a root |
//! | `lock_bytes.rs` | what each byte of the file `lock` stands for |
//! | `state.rs` | the state file of an ingest |
//! | `metadata.rs` | the tables of `meta.db` |
//! | `labels.rs` | labels as JSON, in those tables |
//! | `containerd.rs` | what containerd writes into its ingests |

pub(crate) mod containerd;
pub(crate) mod labels;
pub(crate) mod lock_bytes;
pub(crate) mod marker;
pub(crate) mod metadata;
pub(crate) mod names;
pub mod state;
