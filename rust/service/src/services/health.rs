//! gRPC's health service: SERVING, until the server drains.

use crate::call::{Call, End};
use crate::method::served;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};
use crate::refusal::Refusal;
use crate::shared::Phase;

pub(super) async fn check(call: &mut Call) -> Result<(), End> {
    let request: HealthCheckRequest = call.request().await?;
    call.subject = request.service;
    if !is_known(call) {
        return Err(Refusal::not_found("service", &call.subject).into());
    }
    let response = response(call);
    call.answer(&response).await
}

/// Send the state of a service now and after each change.
pub(super) async fn watch(call: &mut Call) -> Result<(), End> {
    let request: HealthCheckRequest = call.request().await?;
    call.subject = request.service;
    let shared = call.shared.clone();
    let Ok(_place) = shared.limits.watchers.try_acquire() else {
        let most = shared.watching();
        let text = format!("{most} calls watch the health of the service, which is the limit");
        return Err(Refusal::busy("watchers", &text).into());
    };
    let first = response(call);
    call.send(&first).await?;
    tokio::select! {
        () = shared.until(Phase::Draining) => {}
        () = call.sender.gone() => return Err(End::Gone(crate::grpc::code::Code::Cancelled)),
    }
    let last = response(call);
    call.answer(&last).await
}

fn is_known(call: &Call) -> bool {
    let service = call.subject.as_str();
    service.is_empty()
        || served(&call.shared.settings).iter().any(|name| *name == service && !name.starts_with("grpc."))
}

fn response(call: &Call) -> HealthCheckResponse {
    let status = match *call.shared.phase.borrow() {
        _ if !is_known(call) => ServingStatus::ServiceUnknown,
        Phase::Serving => ServingStatus::Serving,
        Phase::Draining | Phase::Ended => ServingStatus::NotServing,
    };
    HealthCheckResponse { status: status.into() }
}
