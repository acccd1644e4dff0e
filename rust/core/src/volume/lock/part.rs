//! The parts of the lock file.

use std::ops::Range;

use crate::format::lock_bytes::{COLLECTOR, DIGESTS, FOREIGN_SERVICE, OWN_SERVICE, STORE};

/// Kinds of services, by who collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Another program.
    Foreign,
    /// The store.
    Own,
}

/// The lock of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Ref(u64),
    Digest(u64),
    AllDigests,
    Lease(u64),
    Store,
    Collector,
    Service(Service),
}

impl Part {
    pub fn bytes(self) -> Range<u64> {
        match self {
            Self::Ref(byte) | Self::Digest(byte) | Self::Lease(byte) => byte..byte + 1,
            Self::AllDigests => DIGESTS,
            Self::Store => STORE..STORE + 1,
            Self::Collector => COLLECTOR..COLLECTOR + 1,
            Self::Service(Service::Foreign) => FOREIGN_SERVICE..FOREIGN_SERVICE + 1,
            Self::Service(Service::Own) => OWN_SERVICE..OWN_SERVICE + 1,
        }
    }
}
