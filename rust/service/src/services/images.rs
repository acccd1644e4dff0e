//! `containerd.services.images.v1.Images`: the image names of the store.

use steelyard_core::digest::Digest;
use steelyard_core::model::{Labels, Target, check_labels};

use crate::call::{Call, End};
use crate::proto::images as pb;
use crate::refusal::Refusal;
use crate::values::{EXACT, check_name, filters_value, image_message, labels_value, paths, target_value};

/// A header of Steelyard's client: Update and Delete change a name only if its target has this digest.
const EXPECTED: &str = "steelyard-expected";

pub(super) async fn get(call: &mut Call) -> Result<(), End> {
    let request: pb::GetImageRequest = call.request().await?;
    let name = name_of(call, request.name)?;
    let image = call.store(move |store| store.image(&name)).await?;
    call.answer(&pb::GetImageResponse { image: Some(image_message(image)) }).await
}

pub(super) async fn list(call: &mut Call) -> Result<(), End> {
    let request: pb::ListImagesRequest = call.request().await?;
    let filters = filters_value(request.filters)?;
    let images = call.store(move |store| store.images(&filters)).await?;
    call.answer(&pb::ListImagesResponse { images: images.into_iter().map(image_message).collect() }).await
}

pub(super) async fn create(call: &mut Call) -> Result<(), End> {
    let request: pb::CreateImageRequest = call.request().await?;
    let Given { name, target, labels } = given(call, request.image)?;
    let image = call.store(move |store| store.create_image(&name, target, labels)).await?;
    call.answer(&pb::CreateImageResponse { image: Some(image_message(image)) }).await
}

pub(super) async fn update(call: &mut Call) -> Result<(), End> {
    let request: pb::UpdateImageRequest = call.request().await?;
    let Given { name, target, labels } = given(call, request.image)?;
    let (paths, expected) = (paths(request.update_mask), expected(call)?);
    let updated =
        move |store: &dyn crate::store::Store| store.update_image(&name, target, labels, &paths, expected.as_ref());
    let image = call.store(updated).await?;
    call.answer(&pb::UpdateImageResponse { image: Some(image_message(image)) }).await
}

pub(super) async fn delete(call: &mut Call) -> Result<(), End> {
    let request: pb::DeleteImageRequest = call.request().await?;
    let name = name_of(call, request.name)?;
    let expected = expected(call)?;
    call.store(move |store| store.delete_image(&name, expected.as_ref())).await?;
    call.answer(&()).await
}

struct Given {
    name: String,
    target: Target,
    labels: Labels,
}

fn given(call: &mut Call, image: Option<pb::Image>) -> Result<Given, Refusal> {
    let image = image.unwrap_or_default();
    let target = target_value(image.target.unwrap_or_default())?;
    let labels = labels_value(image.labels, call.header(EXACT).is_some());
    check_labels(&labels)?;
    Ok(Given { name: name_of(call, image.name)?, target, labels })
}

fn name_of(call: &mut Call, name: String) -> Result<String, Refusal> {
    check_name(&name)?;
    call.subject.clone_from(&name);
    Ok(name)
}

fn expected(call: &Call) -> Result<Option<Digest>, Refusal> {
    let expected = call.header(EXPECTED).map(|text| Digest::parse(&text)).transpose();
    Ok(expected?)
}
