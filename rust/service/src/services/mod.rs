//! The calls of all services.

mod content;
mod events;
mod health;
mod images;
mod leases;
mod reflection;
mod write;
mod write_message;

use std::sync::Arc;

use tokio::time::timeout;

use crate::call::{Call, End};
use crate::grpc::code::Code;
use crate::method::Method;
use crate::refusal::Refusal;
use crate::shared::Phase;

/// Serve a call to its end.
pub(crate) async fn serve(mut call: Call) {
    let shared = Arc::clone(&call.shared);
    shared.metrics.begin(call.method);
    let limit = if call.method.is_write() { &shared.limits.writes } else { &shared.limits.calls };
    let Ok(_place) = limit.try_acquire() else { return call.refuse().await };
    let ended = {
        let answered = std::pin::pin!(answer(&mut call));
        tokio::select! {
            biased;
            ended = answered => ended,
            () = shared.until(Phase::Ended) => Err(End::Gone(Code::Cancelled)),
        }
    };
    call.end(ended);
}

/// Answer a call within the timeout of its client.
async fn answer(call: &mut Call) -> Result<(), End> {
    call.check_namespace()?;
    match call.deadline() {
        None => handle(call).await,
        Some(within) => timeout(within, handle(call)).await.unwrap_or_else(|_| {
            Err(Refusal::new(Code::DeadlineExceeded, "the client's own deadline has passed").into())
        }),
    }
}

async fn handle(call: &mut Call) -> Result<(), End> {
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
