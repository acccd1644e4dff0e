//! The small files that containerd writes into the directory of an ingest.

/// The ref.
pub(crate) const REF: &str = "ref";
/// The size that was announced; missing, or 0, where there is none.
pub(crate) const TOTAL: &str = "total";
/// When the ingest was begun.
pub(crate) const STARTED_AT: &str = "startedat";
/// When it was last opened or closed.
pub(crate) const UPDATED_AT: &str = "updatedat";
