//! The methods of all services.

use crate::settings::Settings;

/// Define the methods by rows `Variant, "service", "method";`.
macro_rules! methods {
    ($($method:ident, $service:literal, $name:literal;)*) => {
        /// The methods of all services.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Method {
            $($method,)*
        }

        impl Method {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$method,)*];

            /// Its full name.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$method => concat!("/", $service, "/", $name),)*
                }
            }

            /// Its service.
            pub(crate) fn service(self) -> &'static str {
                match self {
                    $(Self::$method => $service,)*
                }
            }

            /// Its name within the service.
            pub(crate) fn short_name(self) -> &'static str {
                match self {
                    $(Self::$method => $name,)*
                }
            }

            /// Return the method with this full name.
            pub(crate) fn of(path: &str) -> Option<Self> {
                match path {
                    $(concat!("/", $service, "/", $name) => Some(Self::$method),)*
                    _ => None,
                }
            }
        }
    };
}

methods! {
    Info, "containerd.services.content.v1.Content", "Info";
    Update, "containerd.services.content.v1.Content", "Update";
    List, "containerd.services.content.v1.Content", "List";
    Delete, "containerd.services.content.v1.Content", "Delete";
    Read, "containerd.services.content.v1.Content", "Read";
    Status, "containerd.services.content.v1.Content", "Status";
    ListStatuses, "containerd.services.content.v1.Content", "ListStatuses";
    Write, "containerd.services.content.v1.Content", "Write";
    Abort, "containerd.services.content.v1.Content", "Abort";
    ImageGet, "containerd.services.images.v1.Images", "Get";
    ImageList, "containerd.services.images.v1.Images", "List";
    ImageCreate, "containerd.services.images.v1.Images", "Create";
    ImageUpdate, "containerd.services.images.v1.Images", "Update";
    ImageDelete, "containerd.services.images.v1.Images", "Delete";
    Subscribe, "containerd.services.events.v1.Events", "Subscribe";
    LeaseCreate, "containerd.services.leases.v1.Leases", "Create";
    LeaseDelete, "containerd.services.leases.v1.Leases", "Delete";
    LeaseList, "containerd.services.leases.v1.Leases", "List";
    LeaseAdd, "containerd.services.leases.v1.Leases", "AddResource";
    LeaseRemove, "containerd.services.leases.v1.Leases", "DeleteResource";
    LeaseResources, "containerd.services.leases.v1.Leases", "ListResources";
    Check, "grpc.health.v1.Health", "Check";
    Watch, "grpc.health.v1.Health", "Watch";
    Reflect, "grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo";
}

/// The service that is offered only if the store collects its own garbage.
const LEASES: &str = "containerd.services.leases.v1.Leases";

impl Method {
    /// Whether the server offers this method.
    pub(crate) fn is_served(self, settings: &Settings) -> bool {
        settings.leases || self.service() != LEASES
    }

    pub(crate) fn is_write(self) -> bool {
        self == Self::Write
    }
}

/// The services that are served, each once.
pub(crate) fn served(settings: &Settings) -> Vec<&'static str> {
    let methods = Method::ALL.iter().filter(|method| method.is_served(settings));
    let mut services: Vec<_> = methods.map(|method| method.service()).collect();
    services.dedup();
    services
}
