//! The calls of all services.

mod content;
mod events;
mod health;
mod images;
mod leases;
mod reflection;
mod write;
mod write_message;

use prost_types::FieldMask;

use crate::call::{Call, End};
use crate::shared::Settings;

/// Have the methods from rows `Variant, "service", "method";`.
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

            /// The method of that full name.
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

/// A header of our own client: labels mean what they say, also those with an empty value, which containerd removes, and an Abort or
/// Delete of what is not there is `NOT_FOUND`.
pub(crate) const EXACT: &str = "steelyard-exact";

impl Method {
    /// Whether it is served.
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

/// Serve a call.
pub(crate) async fn handle(call: &mut Call) -> Result<(), End> {
    match call.method {
        Method::Info => content::info(call).await,
        Method::Update => content::update(call).await,
        Method::List => content::list(call).await,
        Method::Delete => content::delete(call).await,
        Method::Read => content::read(call).await,
        Method::Status => content::status(call).await,
        Method::ListStatuses => content::list_statuses(call).await,
        Method::Write => write::write(call).await,
        Method::Abort => content::abort(call).await,
        Method::ImageGet => images::get(call).await,
        Method::ImageList => images::list(call).await,
        Method::ImageCreate => images::create(call).await,
        Method::ImageUpdate => images::update(call).await,
        Method::ImageDelete => images::delete(call).await,
        Method::Subscribe => events::subscribe(call).await,
        Method::LeaseCreate => leases::create(call).await,
        Method::LeaseDelete => leases::delete(call).await,
        Method::LeaseList => leases::list(call).await,
        Method::LeaseAdd => leases::add(call).await,
        Method::LeaseRemove => leases::remove(call).await,
        Method::LeaseResources => leases::resources(call).await,
        Method::Check => health::check(call).await,
        Method::Watch => health::watch(call).await,
        Method::Reflect => reflection::reflect(call).await,
    }
}

/// The fields that an update is to change; none: all.
fn paths(mask: Option<FieldMask>) -> Vec<String> {
    mask.map(|mask| mask.paths).unwrap_or_default()
}
