//! The messages, generated from the .proto files by `.ci/protos`.
#![allow(dead_code, missing_docs, clippy::enum_variant_names, clippy::pedantic, reason = "generated")]

/// The descriptors of all files, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!("proto/descriptors.bin");

pub(crate) mod containerd {
    pub(crate) mod events {
        include!("proto/containerd.events.rs");
    }
    pub(crate) mod types {
        include!("proto/containerd.types.rs");
    }
    pub(crate) mod services {
        pub(crate) mod content {
            pub(crate) mod v1 {
                include!("proto/containerd.services.content.v1.rs");
            }
        }
        pub(crate) mod events {
            pub(crate) mod v1 {
                include!("proto/containerd.services.events.v1.rs");
            }
        }
        pub(crate) mod images {
            pub(crate) mod v1 {
                include!("proto/containerd.services.images.v1.rs");
            }
        }
        pub(crate) mod leases {
            pub(crate) mod v1 {
                include!("proto/containerd.services.leases.v1.rs");
            }
        }
    }
}

pub(crate) mod health {
    include!("proto/grpc.health.v1.rs");
}

pub(crate) mod reflection {
    include!("proto/grpc.reflection.v1alpha.rs");
}

pub(crate) use containerd::services::content::v1 as content;
pub(crate) use containerd::services::events::v1 as events;
pub(crate) use containerd::services::images::v1 as images;
pub(crate) use containerd::services::leases::v1 as leases;
