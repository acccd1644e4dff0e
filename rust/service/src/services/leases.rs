//! `containerd.services.leases.v1.Leases`: the leases of a store that collects its own garbage.

use std::time::Duration;

use steelyard_core::digest::Digest;
use steelyard_core::model::{Resources, check_labels};
use steelyard_core::rfc3339;

use crate::call::{Call, End};
use crate::proto::leases as pb;
use crate::refusal::Refusal;
use crate::times::now_ns;
use crate::values::{EXPIRE, check_lease, check_ref, filters_value, head, lease_message};

/// The longest duration of a lease: a hundred years.
const LONGEST: Duration = Duration::from_secs(36_525 * 86_400);

/// The shortest duration of a lease. A lease whose end is in the past ends at once, as in containerd.
const SOONEST: Duration = Duration::from_micros(1);

/// The types of resources that exist in containerd, but not in a store.
const OTHER_TYPES: [&str; 2] = ["snapshots", "images"];

pub(super) async fn create(call: &mut Call) -> Result<(), End> {
    let pb::CreateRequest { id, mut labels } = call.request().await?;
    call.subject.clone_from(&id);
    let expires = expires(labels.remove(EXPIRE))?;
    check_labels(&labels)?;
    if !id.is_empty() {
        check_lease(&id)?;
    }
    let created = move |store: &dyn crate::store::Store| {
        store.create_lease(Some(id.as_str()).filter(|id| !id.is_empty()), labels, expires)
    };
    let lease = call.store(created).await?;
    call.subject.clone_from(&lease.id);
    call.answer(&pb::CreateResponse { lease: Some(lease_message(lease)) }).await
}

/// Delete a lease. `sync` has no effect: garbage is removed by collections only.
pub(super) async fn delete(call: &mut Call) -> Result<(), End> {
    let request: pb::DeleteRequest = call.request().await?;
    let id = lease_of(call, request.id)?;
    call.store(move |store| store.delete_lease(&id)).await?;
    call.answer(&()).await
}

pub(super) async fn list(call: &mut Call) -> Result<(), End> {
    let request: pb::ListRequest = call.request().await?;
    let filters = filters_value(request.filters)?;
    let leases = call.store(move |store| store.leases(&filters)).await?;
    call.answer(&pb::ListResponse { leases: leases.into_iter().map(lease_message).collect() }).await
}

pub(super) async fn add(call: &mut Call) -> Result<(), End> {
    let request: pb::AddResourceRequest = call.request().await?;
    let id = lease_of(call, request.id)?;
    let resources = resources_of(request.resource)?;
    call.store(move |store| store.add_to_lease(&id, &resources)).await?;
    call.answer(&()).await
}

pub(super) async fn remove(call: &mut Call) -> Result<(), End> {
    let request: pb::DeleteResourceRequest = call.request().await?;
    let id = lease_of(call, request.id)?;
    let resources = resources_of(request.resource)?;
    call.store(move |store| store.remove_from_lease(&id, &resources)).await?;
    call.answer(&()).await
}

pub(super) async fn resources(call: &mut Call) -> Result<(), End> {
    let request: pb::ListResourcesRequest = call.request().await?;
    let id = lease_of(call, request.id)?;
    let Resources { mut digests, mut refs } = call.store(move |store| store.lease_resources(&id)).await?;
    digests.sort_unstable();
    refs.sort_unstable();
    let resource = |id: String, kind: &str| pb::Resource { id, r#type: kind.to_owned() };
    let blobs = digests.iter().map(|digest| resource(digest.to_string(), "content"));
    let resources = blobs.chain(refs.into_iter().map(|name| resource(name, "ingests"))).collect();
    call.answer(&pb::ListResourcesResponse { resources }).await
}

fn lease_of(call: &mut Call, id: String) -> Result<String, Refusal> {
    call.subject.clone_from(&id);
    check_lease(&id)?;
    Ok(id)
}

/// The duration of a lease, from the value of its label.
fn expires(text: Option<String>) -> Result<Duration, Refusal> {
    let Some(text) = text else { return Ok(LONGEST) };
    let Some(end_ns) = rfc3339::parse(&text) else {
        let shown = head(&text);
        let text = format!("label {EXPIRE}={shown:?}: expected a time such as 2030-01-31T12:00:00Z");
        return Err(Refusal::invalid(&text));
    };
    let left = end_ns - i128::from(now_ns());
    if left > i128::try_from(LONGEST.as_nanos()).unwrap_or(i128::MAX) {
        return Err(Refusal::invalid(&format!("expires {text}: expected at most 36525 days from now")));
    }
    Ok(Duration::from_nanos(u64::try_from(left).unwrap_or(0)).max(SOONEST))
}

/// The digest or the ref of a resource.
fn resources_of(resource: Option<pb::Resource>) -> Result<Resources, Refusal> {
    let pb::Resource { id, r#type: kind } = resource.unwrap_or_default();
    let shown = head(&kind);
    match kind.as_str() {
        "content" => Ok(Resources { digests: vec![Digest::parse(&id)?], refs: Vec::new() }),
        "ingests" => {
            check_ref(&id)?;
            Ok(Resources { digests: Vec::new(), refs: vec![id] })
        }
        _ if kind.split('/').next().is_some_and(|kind| OTHER_TYPES.contains(&kind)) => {
            let operation = format!("a lease of {shown}; it has content and ingests");
            Err(Refusal::unsupported("the service", &operation))
        }
        _ => Err(Refusal::invalid(&format!("type of resource {shown:?}: expected content or ingests"))),
    }
}
