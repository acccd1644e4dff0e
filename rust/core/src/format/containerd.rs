//! The content root of containerd, and the small files that containerd writes into the directory of an ingest.

/// The name of the root.
pub(crate) const ROOT: &str = "io.containerd.content.v1.content";
/// The ref.
pub(crate) const REF: &str = "ref";
/// The announced size; missing or 0 if there is none.
pub(crate) const TOTAL: &str = "total";
/// The time at which the ingest was begun.
pub(crate) const STARTED_AT: &str = "startedat";
/// The time at which it was last opened or closed.
pub(crate) const UPDATED_AT: &str = "updatedat";
